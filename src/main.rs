//! The command line: `hark` serves, `hark migrate` brings the schema up to date, `hark openapi` and `hark asyncapi`
//! print the documents of the HTTP interface and of the socket, and `hark healthcheck` asks a running server.

use std::process::ExitCode;

use clap::Parser;
use hark::config::{Cli, Command, unknown_variables};
use hark::server::healthcheck::healthcheck;
use hark::server::{StartError, process};
use hark::telemetry;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code if a setting is wrong and nothing was started.
const EXIT_CODE_BAD_SETTING: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command, config } = Cli::parse();
    let command = command.unwrap_or(Command::Serve);
    match command {
        Command::Openapi => {
            println!("{}", hark::http::openapi(&config.limits).to_pretty_json().expect("the document is plain JSON"));
            return ExitCode::SUCCESS;
        }
        Command::Asyncapi => {
            println!("{:#}", hark::http::asyncapi(&config.limits));
            return ExitCode::SUCCESS;
        }
        Command::Healthcheck => {
            return match healthcheck(config.listen).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(sentence) => {
                    eprintln!("hark: {sentence}");
                    ExitCode::FAILURE
                }
            };
        }
        Command::Serve | Command::Migrate => {}
    }
    if let Err(sentence) = config.check(command) {
        eprintln!("hark: {sentence}");
        return ExitCode::from(EXIT_CODE_BAD_SETTING);
    }
    telemetry::start_log(&config.log, config.log_format);
    for sentence in unknown_variables() {
        tracing::warn!("{sentence}");
    }
    let result = match command {
        Command::Migrate => process::migrate(&config).await,
        _ => process::serve(config).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hark: {error}");
            if matches!(error, StartError::DatabaseUrl(_)) {
                ExitCode::from(EXIT_CODE_BAD_SETTING)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
