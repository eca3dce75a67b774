package sendercheck

// OnInternet is for the test of it.
var OnInternet = onInternet
