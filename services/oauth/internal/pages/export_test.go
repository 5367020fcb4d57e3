package pages

// Prove lets a test ask whose token it is, on its own.
var Prove = (*Service).prove
