//! The load tool. In reading order: `options` (what can be asked for), `scenarios` (what is done),
//! `load` (people who send to each other), `talker` (one of them), `judge` (what went wrong), `line`,
//! `frames` and `scan` (the wire), `run` and `results` (what is measured), `report` (the page of it).

pub(crate) mod caller;
pub(crate) mod crowd;
pub(crate) mod frames;
pub(crate) mod judge;
pub(crate) mod limits;
pub(crate) mod line;
pub(crate) mod load;
pub(crate) mod options;
pub(crate) mod pacer;
pub(crate) mod people;
pub(crate) mod person;
pub(crate) mod plot;
pub(crate) mod processor;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod scan;
pub(crate) mod scenarios;
pub(crate) mod talker;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use self::caller::NoAnswer;
use self::line::{Door, NotOpened};
use self::options::Options;
use self::people::{NoPeople, People};
use self::run::{Processes, Run};

/// What every scenario has: a server, people, and a run that counts.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) door: Door,
    /// For instance `http://127.0.0.1:3000`.
    pub(crate) url: String,
    pub(crate) people: People,
    pub(crate) run: Rc<Run>,
    pub(crate) processes: Processes,
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0} is no address of a server, such as http://127.0.0.1:3000")]
    Address(String),
    #[error(transparent)]
    People(#[from] NoPeople),
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("newGroup is answered without params.item.groupId")]
    NoGroup,
    #[error("the server sends what is no JSON: {0}")]
    NoJson(#[from] serde_json::Error),
    #[error("cannot read or write {0}: {1}")]
    File(PathBuf, io::Error),
    #[error("{0} has no markers between which the tables go")]
    NoMarkers(PathBuf),
    #[error("{0}")]
    Asked(String),
}

impl Bench {
    /// Finds the server.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) async fn prepare(options: Options) -> Result<Self, Failure> {
        let address = address(&options.server).await?;
        let url = format!("http://{}", host(&options.server));
        let door = Door::new(address, options.path.clone());
        let processes = Processes { server: options.server_pid, postgres: options.postgres_pid };
        let people = People::of(&url, options.accounts.as_deref(), &door).await?;
        Ok(Self { door, url, people, run: Run::new(processes), processes, options })
    }
}

fn host(server: &str) -> &str {
    let host = server.split_once("://").map_or(server, |(_, host)| host);
    host.split('/').next().unwrap_or(host)
}

async fn address(server: &str) -> Result<SocketAddr, Failure> {
    let not_found = || Failure::Address(server.to_owned());
    let mut found = tokio::net::lookup_host(host(server)).await.map_err(|_| not_found())?;
    found.next().ok_or_else(not_found)
}
