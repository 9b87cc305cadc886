package errorpages

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// tomcatJSP is the error page of a web application: it picks the file for the
// status, the language and the format. It works with Tomcat 9 (javax) and 10
// (jakarta).
const tomcatJSP = `<%@ page isErrorPage="true" session="false" contentType="text/html; charset=UTF-8" pageEncoding="UTF-8" trimDirectiveWhitespaces="true"
import="java.io.InputStream,java.nio.charset.StandardCharsets,java.util.Arrays,java.util.Enumeration,java.util.List,java.util.Locale" %><%!
  private static final List<String> LANGS = Arrays.asList(%LANGS%);
  private static final List<String> FORMATS = Arrays.asList(%FORMATS%);
%><%
  Object attr = request.getAttribute("jakarta.servlet.error.status_code");
  if (attr == null) attr = request.getAttribute("javax.servlet.error.status_code");
  int status = attr instanceof Integer ? (Integer) attr : 404;
  if (attr == null) response.setStatus(404);
  String lang = LANGS.get(0);
  if (request.getHeader("Accept-Language") != null) {
    search:
    for (Enumeration<Locale> e = request.getLocales(); e.hasMoreElements();) {
      Locale l = e.nextElement();
      for (String t : LANGS) if (t.equalsIgnoreCase(l.toLanguageTag())) { lang = t; break search; }
      for (String t : LANGS) if (t.equalsIgnoreCase(l.getLanguage())) { lang = t; break search; }
    }
  }
  String accept = String.valueOf(request.getHeader("Accept")).toLowerCase(Locale.ROOT);
  String ext = "html";
  if (!accept.contains("text/html")) {
    if (accept.contains("json") && FORMATS.contains("json")) ext = "json";
    else if (accept.contains("xml") && FORMATS.contains("xml")) ext = "xml";
    else if (accept.contains("text/plain") && FORMATS.contains("txt")) ext = "txt";
  }
  String base = "/WEB-INF/errorpages/" + lang + "/";
  InputStream in = application.getResourceAsStream(base + status + "." + ext);
  if (in == null) in = application.getResourceAsStream(base + (status >= 500 ? "5xx." : "4xx.") + ext);
  String type = "text/html; charset=UTF-8";
  if (ext.equals("json")) type = "application/problem+json; charset=UTF-8";
  if (ext.equals("xml")) type = "application/problem+xml; charset=UTF-8";
  if (ext.equals("txt")) type = "text/plain; charset=UTF-8";
  response.setContentType(type);
  response.setHeader("Content-Language", lang);
  response.setHeader("Vary", "Accept, Accept-Language");
  response.setHeader("X-Robots-Tag", "noindex");
  if (status >= 500) response.setHeader("Cache-Control", "no-store");
  if (status == 429 || status == 503) response.setHeader("Retry-After", "%RETRY%");
  try (InputStream body = in) {
    out.print(new String(body.readAllBytes(), StandardCharsets.UTF_8));
  }
%>`

func buildTomcat(b *builder) error {
	b.noMounts()
	b.noRequestID()
	b.noSwitch()
	b.keepJSONByPath()
	for _, l := range b.langs {
		for _, key := range b.keys() {
			for _, f := range b.Formats {
				data, err := b.page(key, l, f, variant{})
				if err != nil {
					return err
				}
				b.add("WEB-INF/errorpages/"+pageFile(l.Tag, key, f.Ext()), data)
			}
		}
	}
	var langs, formats []string
	for _, t := range b.langTags() {
		langs = append(langs, fmt.Sprintf("%q", t))
	}
	for _, f := range b.Formats {
		formats = append(formats, fmt.Sprintf("%q", string(f)))
	}
	b.add("WEB-INF/errorpages/error.jsp", []byte(strings.NewReplacer("%LANGS%", strings.Join(langs, ", "), "%FORMATS%", strings.Join(formats, ", "), "%RETRY%", b.retrySeconds()).Replace(tomcatJSP)))
	b.addConfig("web-fragment.xml", `<!-- Error pages for Tomcat 9 or newer, part 1 of 2. Copy WEB-INF/errorpages
     into the WEB-INF of the web application, and this element into its web.xml.
     It stands for every error that the application reports with sendError or
     by an exception; what it writes itself with setStatus stays. -->
<error-page>
  <location>/WEB-INF/errorpages/error.jsp</location>
</error-page>
`, "copy into the application's WEB-INF/web.xml")
	var s strings.Builder
	s.WriteString(`<!-- Error pages for Tomcat 9 or newer, part 2 of 2: errors outside of any web
     application, such as an address that none is mapped to. Put this valve into
     the Host element of server.xml. -->
<Valve className="org.apache.catalina.valves.ErrorReportValve" showReport="false" showServerInfo="false"
`)
	lang := b.langs[0].Tag
	for _, c := range b.codes {
		fmt.Fprintf(&s, "  errorCode.%d=%s\n", c.Status, xmlAttr(b.path("WEB-INF/errorpages/"+pageFile(lang, c.key(), ".html"))))
	}
	fmt.Fprintf(&s, "  errorCode.0=%s/>\n", xmlAttr(b.path("WEB-INF/errorpages/"+pageFile(lang, key5xx, ".html"))))
	b.addConfig("valve.xml", s.String(), "put into the Host element of server.xml")
	return nil
}

// xmlAttr quotes the value of an XML attribute.
func xmlAttr(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return `"` + b.String() + `"`
}
