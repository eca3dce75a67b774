package intake

// LimitUnpacked sets what one file may be unpacked to.
func (f *Files) LimitUnpacked(n int64) { f.unpacked = n }
