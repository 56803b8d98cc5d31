//! The object model: every object and parameter declared once, and the grammar of its file.
