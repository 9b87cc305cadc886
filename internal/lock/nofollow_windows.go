package lock

// Creating symbolic links needs a privilege on Windows; the look before the
// opening must do.
const noFollow = 0
