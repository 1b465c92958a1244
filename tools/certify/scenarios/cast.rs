//! Who plays: six people, who do one thing after the other, so that it is certain what was before a backup
//! and what was not.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::accounts::{Account, log_in};
use crate::certify::people::link::{Link, Opening};
use crate::certify::people::{World, client, signed_up};
use crate::certify::record::{Micros, Place, Seen};
use crate::certify::recorder::Recorder;

const PEOPLE: usize = 6;
/// Sign-ups in a lost history, and after it: the same numbers are given twice.
const STRANGERS: usize = 5;
/// How long an answer is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long pushes may take that are still on their way.
const PUSHES_TAKE: Duration = Duration::from_millis(300);
/// One thing in so many is followed by a `sync` of everybody.
const SYNC_EVERY: usize = 20;

/// The people of a scenario.
pub(super) struct Cast {
    pub(super) servers: Vec<String>,
    pub(super) recorder: Recorder,
    rng: StdRng,
    pub(super) players: Vec<Player>,
    /// The groups that all know, with who is in them.
    tea: Group,
    chess: Group,
    /// Sessions that were opened in the lost history.
    tokens: Vec<Token>,
    next_message: usize,
    pub(super) next_id: u64,
    /// What was sent after the restore, by its sender and name.
    sent: Vec<(usize, Place, String)>,
}

pub(super) struct Player {
    pub(super) account: Account,
    pub(super) link: Option<Link>,
    /// What `sync` was last asked with on the way that outlives, and all cursors of that way.
    cursor: Option<String>,
    kept: Vec<String>,
    lost: Vec<String>,
}

#[derive(Default)]
struct Group {
    id: i64,
    members: Vec<usize>,
}

struct Token {
    owner: String,
    token: String,
    issued: Micros,
}

/// Which way a cursor belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kept,
    Lost,
}

impl Cast {
    /// Signs everybody up.
    pub(super) async fn new(servers: Vec<String>, recorder: &Recorder, rng: StdRng) -> Result<Self, String> {
        let mut players = Vec::new();
        for nth in 0..PEOPLE {
            let (email, name) = (format!("player-{nth}@certify.invalid"), format!("Player {nth}"));
            let account = signed_up(&client(nth)?, &servers[0], &email, &name).await?;
            players.push(Player { account, link: None, cursor: None, kept: Vec::new(), lost: Vec::new() });
        }
        Ok(Self {
            servers,
            recorder: recorder.clone(),
            rng,
            players,
            tea: Group::default(),
            chess: Group::default(),
            tokens: Vec::new(),
            next_message: 0,
            next_id: 0,
            sent: Vec::new(),
        })
    }

    /// What every backup has.
    pub(super) async fn before(&mut self) -> Result<(), String> {
        for who in 0..PEOPLE {
            self.sync(who, Way::Kept).await;
        }
        self.tea = self.group(0, &[1, 2, 3]).await?;
        self.chess = self.group(1, &[0, 2, 4]).await?;
        self.turns(40, Way::Kept).await;
        self.read_all().await;
        for who in 0..PEOPLE {
            self.sync(who, Way::Kept).await;
        }
        Ok(())
    }

    /// What is lost: strangers sign up, everybody logs in anew, people come and go, write, read and sync.
    pub(super) async fn lost(&mut self, turns: usize) -> Result<(), String> {
        self.strangers("lost").await?;
        for nth in 0..PEOPLE {
            let email = self.players[nth].account.email.clone();
            let account = log_in(&client(nth)?, &self.servers[0], &email).await.map_err(|error| error.to_string())?;
            self.keep_token(account);
        }
        // One change of each group, and messages for which the node looks up who is in it.
        self.member(0, "addUserInGroup", self.tea.id, 4).await;
        self.tea.members.push(4);
        self.member(1, "removeUserFromGroup", self.chess.id, 4).await;
        self.chess.members.retain(|who| *who != 4);
        let tulips = self.group(3, &[4, 5]).await?;
        for who in [0, 2, 4] {
            self.send(who, Place::Group(self.tea.id)).await;
            self.send(who.min(2), Place::Group(self.chess.id)).await;
        }
        self.send(3, Place::Group(tulips.id)).await;
        self.turns(turns, Way::Lost).await;
        self.read_all().await;
        self.turns(SYNC_EVERY, Way::Lost).await;
        // As before the backup: what came after it never was.
        self.tea.members.retain(|who| *who != 4);
        self.chess.members.push(4);
        Ok(())
    }

    /// What is new: as many changes of the groups as were lost, but other ones, the numbers of the lost
    /// strangers for others, and messages, most of them once the server has had time to see what it has become.
    pub(super) async fn after(&mut self, turns: usize, rests: Duration) -> Result<(), String> {
        self.sent.clear();
        self.member(0, "removeUserFromGroup", self.tea.id, 1).await;
        self.tea.members.retain(|who| *who != 1);
        self.member(1, "addUserInGroup", self.chess.id, 5).await;
        self.chess.members.push(5);
        for who in [0, 2, 3] {
            self.send(who, Place::Group(self.tea.id)).await;
            self.send(who.min(2), Place::Group(self.chess.id)).await;
        }
        sleep(rests).await;
        self.drain().await;
        self.strangers("new").await?;
        self.try_tokens().await;
        let roses = self.group(2, &[0, 1]).await?;
        for who in [2, 0, 1] {
            self.send(who, Place::Group(roses.id)).await;
        }
        self.turns(turns, Way::Kept).await;
        self.read_all().await;
        Ok(())
    }

    /// Everybody looks for what they sent last.
    pub(super) async fn search_all(&mut self) {
        for (who, place, name) in self.sent.clone().into_iter().step_by(3) {
            self.search(who, &name).await;
            if let Place::Dialog(one, other) = place {
                let receiver = self.players.iter().position(|player| {
                    let id = player.account.id;
                    (id == one || id == other) && id != self.players[who].account.id
                });
                self.search(receiver.unwrap_or(who), &name).await;
            }
        }
    }

    /// Reads what is on its way to the sockets.
    pub(super) async fn drain(&mut self) {
        sleep(PUSHES_TAKE).await;
        for who in 0..PEOPLE {
            if self.players[who].link.is_some() {
                self.ask(who, "ping", &json!({})).await;
            }
        }
    }

    /// Everybody's account.
    pub(super) fn people(&self) -> Vec<Account> {
        self.players.iter().map(|player| player.account.clone()).collect()
    }

    /// The cursors that the final truth is asked from: those of before the backup and of after the restore.
    pub(super) fn keep_cursors(&self, world: &World) {
        for player in &self.players {
            player.kept.iter().for_each(|cursor| world.keep_cursor(player.account.id, cursor));
        }
    }

    /// The cursors that people hold of the lost history.
    pub(super) fn lost_cursors(&self) -> Vec<(Account, Vec<String>)> {
        self.players.iter().map(|player| (player.account.clone(), player.lost.clone())).collect()
    }

    /// Messages by everybody in turn, and what goes with them.
    async fn turns(&mut self, turns: usize, way: Way) {
        for turn in 0..turns {
            let who = turn % PEOPLE;
            let groups = [&self.tea, &self.chess].map(|group| (group.id, group.members.contains(&who)));
            let mine: Vec<i64> = groups.into_iter().filter(|(_, is_in)| *is_in).map(|(id, _)| id).collect();
            let place = if mine.is_empty() || self.rng.random_ratio(1, 2) {
                let other = (who + self.rng.random_range(1..PEOPLE)) % PEOPLE;
                Place::dialog(self.players[who].account.id, self.players[other].account.id)
            } else {
                Place::Group(mine[self.rng.random_range(0..mine.len())])
            };
            let name = self.send(who, place).await;
            if turn % 4 == 0 && way == Way::Kept {
                self.search(who, &name).await;
            }
            if turn % SYNC_EVERY == 0 {
                for who in 0..PEOPLE {
                    self.sync(who, way).await;
                }
            }
        }
    }

    /// Sends a message until it is taken, and says its name.
    async fn send(&mut self, who: usize, place: Place) -> String {
        self.next_message += 1;
        let me = self.players[who].account.id;
        let name = format!("{me}y{}z", self.next_message);
        let mut params = place.target(me);
        params["content"] = json!(format!("{name} hello"));
        params["clientMessageId"] = json!(name);
        let kind = if matches!(place, Place::Group(_)) { "messageInGroup" } else { "privateMessage" };
        self.insist(who, kind, &params).await;
        self.sent.push((who, place, name.clone()));
        name
    }

    async fn search(&mut self, who: usize, name: &str) {
        self.ask(who, "searchMessages", &json!({ "query": name, "limit": 20 })).await;
    }

    async fn read_all(&mut self) {
        for (id, members) in [&self.tea, &self.chess].map(|group| (group.id, group.members.clone())) {
            for who in members {
                self.ask(who, "readMessages", &json!({ "groupId": id })).await;
            }
        }
        for who in 0..PEOPLE {
            let other = self.players[(who + 1) % PEOPLE].account.id;
            self.ask(who, "readMessages", &json!({ "receiverId": other })).await;
        }
    }

    /// All pages since the cursor of a way. A lost way begins where the kept one was.
    async fn sync(&mut self, who: usize, way: Way) {
        let player = &self.players[who];
        let mut cursor = match way {
            Way::Kept => player.cursor.clone(),
            Way::Lost => player.lost.last().or(player.cursor.as_ref()).cloned(),
        };
        loop {
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor, "limit": 100 }));
            let Some(reply) = self.ask(who, "sync", &params).await.filter(|reply| reply["success"] == true) else {
                return;
            };
            let item = &reply["params"]["item"];
            let Some(next) = item["cursor"].as_str() else { return };
            let player = &mut self.players[who];
            match way {
                Way::Kept => {
                    player.cursor = Some(next.to_owned());
                    player.kept.push(next.to_owned());
                }
                Way::Lost => player.lost.push(next.to_owned()),
            }
            if item["more"] != true {
                return;
            }
            cursor = Some(next.to_owned());
        }
    }

    async fn group(&mut self, admin: usize, others: &[usize]) -> Result<Group, String> {
        let ids: Vec<i64> = others.iter().map(|who| self.players[*who].account.id).collect();
        let params = json!({ "groupName": "A group", "userIds": ids });
        let reply = self.ask(admin, "newGroup", &params).await;
        let id = reply.as_ref().and_then(|reply| reply["params"]["item"]["groupId"].as_i64());
        let id = id.ok_or(format!("no group: {reply:?}"))?;
        Ok(Group { id, members: others.iter().copied().chain([admin]).collect() })
    }

    async fn member(&mut self, admin: usize, kind: &str, group: i64, who: usize) {
        let user = self.players[who].account.id;
        self.insist(admin, kind, &json!({ "groupId": group, "userId": user })).await;
    }

    /// People who were not there before, with a session each.
    async fn strangers(&mut self, which: &str) -> Result<(), String> {
        for nth in 0..STRANGERS {
            let (email, name) = (format!("{which}-{nth}@certify.invalid"), format!("Stranger {nth}"));
            let account = signed_up(&client(PEOPLE + nth)?, &self.servers[0], &email, &name).await?;
            if which == "lost" {
                self.keep_token(account);
            }
        }
        Ok(())
    }

    fn keep_token(&mut self, account: Account) {
        self.tokens.push(Token { owner: account.email, token: account.token, issued: self.recorder.now() });
    }

    /// Shows the sessions of the lost history to the server, over HTTP and for a socket.
    async fn try_tokens(&mut self) {
        let Ok(http) = client(0) else { return };
        for Token { owner, token, issued } in &self.tokens {
            let url = format!("{}/api/v1/users/me", self.servers[0]);
            let mut opened = None;
            if let Ok(answer) = http.get(url).bearer_auth(token).send().await
                && answer.status().is_success()
            {
                let me: Value = answer.json().await.unwrap_or_default();
                opened = Some(me["email"].as_str().unwrap_or("an account").to_owned());
            }
            let tried = |route: &str, opened| Seen::Token {
                owner: owner.clone(),
                issued: *issued,
                route: route.to_owned(),
                opened,
            };
            self.recorder.note(tried("GET /api/v1/users/me", opened));
            let opening = Opening { servers: &self.servers, server: 0, user: 0, token };
            let mut opened = None;
            if let Ok(mut link) = Link::open(opening, None).await {
                let me = link.call("getUser", &json!({}), PATIENCE).await.unwrap_or_default();
                // A socket that is closed with 4001 at once has opened nothing.
                opened = me["params"]["item"]["email"].as_str().map(str::to_owned);
                link.close().await;
            }
            self.recorder.note(tried("a socket", opened));
        }
    }
}
