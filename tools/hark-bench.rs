//! `hark-bench`: how fast is a server of this protocol?

mod accounts;

fn main() {}
