//! The script of a scenario: six users who send one request at a time, so that it is certain what was acknowledged
//! before the backup.

use std::time::Duration;

use hark_harness::accounts::{Account, log_in};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::clients::connection::{ConnectTarget, Connection};
use crate::clients::setup::{http_client, sign_up_with_retry};
use crate::clients::shared::SharedState;
use crate::history::event::{Conversation, Event, Micros};
use crate::history::recorder::Recorder;
use crate::scenarios::participants::{Participants, REPLY_TIMEOUT};

const USERS: usize = 6;
/// Sign-ups in the lost history, and again after it: the database assigns the same ids twice.
const STRANGERS: usize = 5;
/// How long pushes may be on their way.
const PUSH_DELAY: Duration = Duration::from_millis(300);
/// After this many turns every user calls `sync`.
const TURNS_PER_SYNC: usize = 20;

/// The state of a script. Users are named by their index.
pub(super) struct Script {
    participants: Participants,
    rng: StdRng,
    /// The cursors of each user.
    cursors: Vec<Cursors>,
    /// The groups that exist before the backup.
    tea: Group,
    chess: Group,
    /// Sessions of the lost history.
    tokens: Vec<Token>,
    next_message: usize,
    /// Messages that were sent after the restore: their sender, conversation and name.
    sent: Vec<(usize, Conversation, String)>,
}

/// The cursors that a user received.
#[derive(Clone, Default)]
struct Cursors {
    /// Those of the history that survives.
    surviving: Vec<String>,
    /// Those of the lost history.
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

/// The history that a cursor belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Timeline {
    Surviving,
    Lost,
}

impl Script {
    /// Signs up the users.
    pub(super) async fn new(servers: Vec<String>, recorder: &Recorder, rng: StdRng) -> Result<Self, String> {
        let mut accounts = Vec::new();
        for nth in 0..USERS {
            let (email, name) = (format!("player-{nth}@certify.invalid"), format!("Player {nth}"));
            accounts.push(sign_up_with_retry(&http_client(nth)?, &servers[0], &email, &name).await?);
        }
        Ok(Self {
            participants: Participants::new(servers, recorder.clone(), accounts),
            rng,
            cursors: vec![Cursors::default(); USERS],
            tea: Group::default(),
            chess: Group::default(),
            tokens: Vec::new(),
            next_message: 0,
            sent: Vec::new(),
        })
    }

    /// The part before the backup.
    pub(super) async fn run_before_backup(&mut self) -> Result<(), String> {
        for who in 0..USERS {
            self.sync(who, Timeline::Surviving).await;
        }
        self.tea = self.group(0, &[1, 2, 3]).await?;
        self.chess = self.group(1, &[0, 2, 4]).await?;
        self.turns(40, Timeline::Surviving).await;
        self.read_all().await;
        for who in 0..USERS {
            self.sync(who, Timeline::Surviving).await;
        }
        Ok(())
    }

    /// The part that is lost: strangers sign up, all users log in again, join, leave, write, read and sync.
    pub(super) async fn run_lost(&mut self, turns: usize) -> Result<(), String> {
        self.strangers("lost").await?;
        for nth in 0..USERS {
            let email = self.participants.account(nth).email.clone();
            let account = log_in(&http_client(nth)?, &self.participants.servers[0], &email)
                .await
                .map_err(|error| error.to_string())?;
            self.keep_token(account);
        }
        // One membership change in each group, and messages that make the node cache the member lists.
        self.member(0, "addUserInGroup", self.tea.id, 4).await;
        self.tea.members.push(4);
        self.member(1, "removeUserFromGroup", self.chess.id, 4).await;
        self.chess.members.retain(|who| *who != 4);
        let tulips = self.group(3, &[4, 5]).await?;
        for who in [0, 2, 4] {
            self.send(who, Conversation::Group(self.tea.id)).await;
            self.send(who.min(2), Conversation::Group(self.chess.id)).await;
        }
        self.send(3, Conversation::Group(tulips.id)).await;
        self.turns(turns, Timeline::Lost).await;
        self.read_all().await;
        self.turns(TURNS_PER_SYNC, Timeline::Lost).await;
        // The memberships are those of the backup again.
        self.tea.members.retain(|who| *who != 4);
        self.chess.members.push(4);
        Ok(())
    }

    /// The part after the restore: as many membership changes as were lost, but other ones; other strangers, who get
    /// the ids of the lost ones; and messages, most of them after `delay`, when the server has noticed the restore.
    pub(super) async fn run_after_restore(&mut self, turns: usize, delay: Duration) -> Result<(), String> {
        self.sent.clear();
        self.member(0, "removeUserFromGroup", self.tea.id, 1).await;
        self.tea.members.retain(|who| *who != 1);
        self.member(1, "addUserInGroup", self.chess.id, 5).await;
        self.chess.members.push(5);
        for who in [0, 2, 3] {
            self.send(who, Conversation::Group(self.tea.id)).await;
            self.send(who.min(2), Conversation::Group(self.chess.id)).await;
        }
        sleep(delay).await;
        self.receive_pushes().await;
        self.strangers("new").await?;
        self.try_tokens().await;
        let roses = self.group(2, &[0, 1]).await?;
        for who in [2, 0, 1] {
            self.send(who, Conversation::Group(roses.id)).await;
        }
        self.turns(turns, Timeline::Surviving).await;
        self.read_all().await;
        Ok(())
    }

    /// Searches for messages that were sent after the restore, as their senders and receivers.
    pub(super) async fn search_all(&mut self) {
        for (who, conversation, name) in self.sent.clone().into_iter().step_by(3) {
            self.search(who, &name).await;
            if let Conversation::Dialog(one, other) = conversation {
                let receiver = (0..USERS).find(|user| {
                    let id = self.participants.account(*user).id;
                    (id == one || id == other) && id != self.participants.account(who).id
                });
                self.search(receiver.unwrap_or(who), &name).await;
            }
        }
    }

    /// Receives the pushes that are on their way.
    pub(super) async fn receive_pushes(&mut self) {
        sleep(PUSH_DELAY).await;
        for who in 0..USERS {
            if self.participants.is_connected(who) {
                self.participants.call(who, "ping", &json!({})).await;
            }
        }
    }

    /// The accounts of all users.
    pub(super) fn accounts(&self) -> Vec<Account> {
        (0..USERS).map(|who| self.participants.account(who).clone()).collect()
    }

    /// Adds the cursors from before the backup and after the restore to those that the final state is read with.
    pub(super) fn add_surviving_cursors(&self, shared: &SharedState) {
        for (who, cursors) in self.cursors.iter().enumerate() {
            let user = self.participants.account(who).id;
            cursors.surviving.iter().for_each(|cursor| shared.add_cursor(user, cursor));
        }
    }

    /// The cursors of the lost history, with the accounts of their users.
    pub(super) fn lost_cursors(&self) -> Vec<(Account, Vec<String>)> {
        self.accounts().into_iter().zip(self.cursors.iter().map(|cursors| cursors.lost.clone())).collect()
    }

    /// Messages of all users in turn, with searches and `sync`.
    async fn turns(&mut self, turns: usize, timeline: Timeline) {
        for turn in 0..turns {
            let who = turn % USERS;
            let groups = [&self.tea, &self.chess].map(|group| (group.id, group.members.contains(&who)));
            let mine: Vec<i64> = groups.into_iter().filter(|(_, is_in)| *is_in).map(|(id, _)| id).collect();
            let conversation = if mine.is_empty() || self.rng.random_ratio(1, 2) {
                let other = (who + self.rng.random_range(1..USERS)) % USERS;
                Conversation::dialog(self.participants.account(who).id, self.participants.account(other).id)
            } else {
                Conversation::Group(mine[self.rng.random_range(0..mine.len())])
            };
            let name = self.send(who, conversation).await;
            if turn % 4 == 0 && timeline == Timeline::Surviving {
                self.search(who, &name).await;
            }
            if turn % TURNS_PER_SYNC == 0 {
                for who in 0..USERS {
                    self.sync(who, timeline).await;
                }
            }
        }
    }

    /// Sends a message until it is acknowledged or refused, and returns its name.
    async fn send(&mut self, who: usize, conversation: Conversation) -> String {
        self.next_message += 1;
        let me = self.participants.account(who).id;
        let name = format!("{me}y{}z", self.next_message);
        let mut params = conversation.target(me);
        params["content"] = json!(format!("{name} hello"));
        params["clientMessageId"] = json!(name);
        let frame_type =
            if matches!(conversation, Conversation::Group(_)) { "messageInGroup" } else { "privateMessage" };
        self.participants.insist(who, frame_type, &params).await;
        self.sent.push((who, conversation, name.clone()));
        name
    }

    async fn search(&mut self, who: usize, name: &str) {
        self.participants.call(who, "searchMessages", &json!({ "query": name, "limit": 20 })).await;
    }

    async fn read_all(&mut self) {
        for (id, members) in [&self.tea, &self.chess].map(|group| (group.id, group.members.clone())) {
            for who in members {
                self.participants.call(who, "readMessages", &json!({ "groupId": id })).await;
            }
        }
        for who in 0..USERS {
            let other = self.participants.account((who + 1) % USERS).id;
            self.participants.call(who, "readMessages", &json!({ "receiverId": other })).await;
        }
    }

    /// Calls `sync` for all pages since the last cursor. The lost timeline begins at the last surviving cursor.
    async fn sync(&mut self, who: usize, timeline: Timeline) {
        let Cursors { surviving, lost } = &self.cursors[who];
        let mut cursor = match timeline {
            Timeline::Surviving => surviving.last().cloned(),
            Timeline::Lost => lost.last().or(surviving.last()).cloned(),
        };
        loop {
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor, "limit": 100 }));
            let Some(reply) =
                self.participants.call(who, "sync", &params).await.filter(|reply| reply["success"] == true)
            else {
                return;
            };
            let item = &reply["params"]["item"];
            let Some(next) = item["cursor"].as_str() else { return };
            let cursors = &mut self.cursors[who];
            match timeline {
                Timeline::Surviving => cursors.surviving.push(next.to_owned()),
                Timeline::Lost => cursors.lost.push(next.to_owned()),
            }
            if item["more"] != true {
                return;
            }
            cursor = Some(next.to_owned());
        }
    }

    async fn group(&mut self, admin: usize, others: &[usize]) -> Result<Group, String> {
        let ids: Vec<i64> = others.iter().map(|who| self.participants.account(*who).id).collect();
        let params = json!({ "groupName": "A group", "userIds": ids });
        let reply = self.participants.call(admin, "newGroup", &params).await;
        let id = reply.as_ref().and_then(|reply| reply["params"]["item"]["groupId"].as_i64());
        let id = id.ok_or(format!("no group: {reply:?}"))?;
        Ok(Group { id, members: others.iter().copied().chain([admin]).collect() })
    }

    async fn member(&mut self, admin: usize, frame_type: &str, group: i64, who: usize) {
        let user = self.participants.account(who).id;
        self.participants.insist(admin, frame_type, &json!({ "groupId": group, "userId": user })).await;
    }

    /// Signs up new users, each with a session.
    async fn strangers(&mut self, which: &str) -> Result<(), String> {
        for nth in 0..STRANGERS {
            let (email, name) = (format!("{which}-{nth}@certify.invalid"), format!("Stranger {nth}"));
            let account =
                sign_up_with_retry(&http_client(USERS + nth)?, &self.participants.servers[0], &email, &name).await?;
            if which == "lost" {
                self.keep_token(account);
            }
        }
        Ok(())
    }

    fn keep_token(&mut self, account: Account) {
        self.tokens.push(Token {
            owner: account.email,
            token: account.token,
            issued: self.participants.recorder.now(),
        });
    }

    /// Tries the sessions of the lost history, over HTTP and for a socket.
    async fn try_tokens(&mut self) {
        let Ok(http) = http_client(0) else { return };
        for Token { owner, token, issued } in &self.tokens {
            let url = format!("{}/api/v1/users/me", self.participants.servers[0]);
            let mut account = None;
            if let Ok(answer) = http.get(url).bearer_auth(token).send().await
                && answer.status().is_success()
            {
                let me: Value = answer.json().await.unwrap_or_default();
                account = Some(me["email"].as_str().unwrap_or("an account").to_owned());
            }
            let tried = |route: &str, account| Event::Token {
                owner: owner.clone(),
                issued: *issued,
                route: route.to_owned(),
                account,
            };
            self.participants.recorder.note(tried("GET /api/v1/users/me", account));
            let target = ConnectTarget { servers: &self.participants.servers, server: 0, user: 0, token };
            let mut account = None;
            if let Ok(mut connection) = Connection::open(target, None).await {
                let me = connection.call("getUser", &json!({}), REPLY_TIMEOUT).await.unwrap_or_default();
                // A socket that is closed with 4001 at once opens no account.
                account = me["params"]["item"]["email"].as_str().map(str::to_owned);
                connection.close().await;
            }
            self.participants.recorder.note(tried("a socket", account));
        }
    }
}
