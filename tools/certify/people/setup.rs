//! Before anything is hurt: accounts, first cursors, groups.

use std::collections::HashMap;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::link::{Link, Opening};
use super::world::{Group, Pair, World};
use crate::accounts::{Account, NoAccount, sign_up};
use crate::certify::recorder::Recorder;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to try to sign up where the server's limits are on.
const SIGNS_UP_WITHIN: Duration = Duration::from_mins(5);

/// Makes `number` people and their groups. `name` tells the accounts of one round from those of others.
///
/// # Errors
/// What the server does not do.
pub(crate) async fn set_up(
    servers: Vec<String>,
    number: usize,
    name: &str,
    seed: u64,
    recorder: &Recorder,
) -> Result<World, String> {
    let mut people = Vec::new();
    for nth in 0..number {
        let http = client(nth)?;
        let email = format!("{name}-{nth}@certify.invalid");
        people.push(signed_up(&http, &servers[0], &email, &format!("Person {nth}")).await?);
    }
    let mut links = Vec::new();
    for person in &people {
        let opening = Opening { servers: &servers, server: 0, user: person.id, token: &person.token };
        links.push(Link::open(opening, Some(recorder)).await.map_err(|error| format!("no socket: {error:?}"))?);
    }
    // First of all: what is before a cursor is nothing, so that what comes after it is everything.
    let mut first_cursors = Vec::new();
    for (person, link) in people.iter().zip(&mut links) {
        let reply = link.call("sync", &json!({}), PATIENCE).await;
        let cursor = reply.as_ref().and_then(|reply| reply["params"]["item"]["cursor"].as_str());
        first_cursors.push((person.id, cursor.ok_or(format!("no cursor: {reply:?}"))?.to_owned()));
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut groups, mut pairs) = (Vec::new(), HashMap::new());
    for (nth, link) in links.iter_mut().enumerate().take((number / 3).max(2)) {
        let admin = people[nth].id;
        let mut others: Vec<i64> = people.iter().map(|person| person.id).filter(|id| *id != admin).collect();
        others.shuffle(&mut rng);
        let (always, floating) = others.split_at(others.len() / 2);
        let (inside, outside) = floating.split_at(floating.len() / 2);
        let first: Vec<i64> = always.iter().chain(inside).copied().collect();
        let params = json!({ "groupName": format!("Group {nth}"), "userIds": first });
        let reply = link.call("newGroup", &params, PATIENCE).await;
        let id = reply.as_ref().and_then(|reply| reply["params"]["item"]["groupId"].as_i64());
        let id = id.ok_or(format!("no group: {reply:?}"))?;
        pairs.extend(outside.iter().map(|user| ((id, *user), Pair::Out)));
        groups.push(Group { id, admin, floating: floating.to_vec() });
    }
    for link in links {
        link.close().await;
    }
    let world = World::new(servers, people, groups, pairs);
    for (user, cursor) in first_cursors {
        world.keep_cursor(user, &cursor);
    }
    Ok(world)
}

/// A client at an address of its own, for a server that believes a proxy; another one does not care.
///
/// # Errors
/// Where there can be none.
pub(crate) fn client(nth: usize) -> Result<Client, String> {
    let address = format!("10.{}.{}.{}", nth >> 16 & 255, nth >> 8 & 255, nth & 255);
    let address = address.parse().map_err(|_| format!("{address} is no header"))?;
    let headers = [(reqwest::header::HeaderName::from_static("x-forwarded-for"), address)].into_iter().collect();
    let client = Client::builder().no_proxy().timeout(PATIENCE).default_headers(headers);
    client.build().map_err(|error| error.to_string())
}

/// Waits where the server takes only so many a minute.
pub(crate) async fn signed_up(http: &Client, server: &str, email: &str, name: &str) -> Result<Account, String> {
    let deadline = Instant::now() + SIGNS_UP_WITHIN;
    let mut made = false;
    loop {
        let account = if made {
            crate::accounts::log_in(http, server, email).await
        } else {
            sign_up(http, server, email, name).await
        };
        match account {
            Err(NoAccount::Refused(StatusCode::TOO_MANY_REQUESTS, _)) if Instant::now() < deadline => {
                sleep(Duration::from_secs(5)).await;
            }
            // It was made, and the login was one too many.
            Err(NoAccount::Refused(StatusCode::CONFLICT, _)) if !made => made = true,
            account => return account.map_err(|error| error.to_string()),
        }
    }
}
