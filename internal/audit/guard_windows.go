package audit

import "io/fs"

const openFlags = 0

// guard does nothing: rights on Windows are ACLs, which the profile directory
// of a user passes on to what is made in it.
func guard(string, fs.FileInfo) error { return nil }
