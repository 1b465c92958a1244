//! `hark-certify`: what does a server lose while it is being hurt?
//!
//! It drives a server with people who write, read, join and leave, hurts it meanwhile, records every
//! request, reply and push with its time, and judges the record. It speaks the protocol alone.

mod accounts;
mod certify;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    certify::run(certify::options::Options::parse())
}
