//! `hark-certify`: what does a server lose while it is being hurt?

mod accounts;

fn main() {}
