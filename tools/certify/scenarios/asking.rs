//! How the people of a scenario ask: one request at a time, on a socket that is opened anew where it has ended.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::cast::{Cast, PATIENCE};
use crate::accounts::log_in;
use crate::certify::people::client;
use crate::certify::people::link::{Link, NotOpen, Opening};

const OPENS_WITHIN: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_millis(200);

impl Cast {
    /// Asks until it is done or refused for good: right after a fault, some things are refused for now.
    pub(super) async fn insist(&mut self, who: usize, kind: &str, params: &Value) {
        let deadline = Instant::now() + OPENS_WITHIN;
        while Instant::now() < deadline {
            match self.ask(who, kind, params).await {
                Some(reply) if !matches!(reply["code"].as_str(), Some("overloaded" | "internal")) => return,
                _ => sleep(AGAIN_AFTER).await,
            }
        }
    }

    /// The reply to a request, on the socket that is open, or on a new one.
    pub(super) async fn ask(&mut self, who: usize, kind: &str, params: &Value) -> Option<Value> {
        self.open(who).await?;
        self.next_id += 1;
        let player = &mut self.players[who];
        let reply = player.link.as_mut()?.call_as(kind, params, self.next_id, PATIENCE).await;
        if reply.is_none() {
            player.link = None;
        }
        reply
    }

    async fn open(&mut self, who: usize) -> Option<()> {
        let deadline = Instant::now() + OPENS_WITHIN;
        while self.players[who].link.is_none() {
            if Instant::now() > deadline {
                return None;
            }
            let account = &self.players[who].account;
            let opening = Opening { servers: &self.servers, server: 0, user: account.id, token: &account.token };
            match Link::open(opening, Some(&self.recorder)).await {
                Ok(mut link) => {
                    if link.call("subscribe", &json!({ "events": ["all"] }), PATIENCE).await.is_some() {
                        self.players[who].link = Some(link);
                    }
                }
                Err(NotOpen::Unauthorized) => {
                    let email = account.email.clone();
                    if let Ok(account) = log_in(&client(who).ok()?, &self.servers[0], &email).await {
                        self.players[who].account = account;
                    }
                }
                Err(NotOpen::Later) => {}
            }
            if self.players[who].link.is_none() {
                sleep(AGAIN_AFTER).await;
            }
        }
        Some(())
    }
}
