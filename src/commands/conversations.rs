//! One conversation: opening and closing it, and what I want of it.
