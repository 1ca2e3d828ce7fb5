//! Tables: what a file says → what is understood, or the complaint.
