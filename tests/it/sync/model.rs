//! What a client builds from pushes and `sync` alone equals what it reads afresh, whatever happens
//! in which order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::support::{Behind, cursor, write};
use crate::support::{Client, TestServer, User, eventually};

const PEOPLE: usize = 3;

/// What happens. People are named by their number; each acts on another device than the one that is
/// looked at.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connect(usize),
    Disconnect(usize),
    Sync(usize),
    Send(usize, usize),
    SendToGroup(usize),
    Add(usize, usize),
    Leave(usize),
    Edit(usize, usize, i64),
    EditInGroup(i64),
    Read(usize, usize, i64),
    ReadInGroup(usize, i64),
    /// Somebody else's message, which has its number now and commits with the next `CommitLate`.
    BeginLate(usize),
    CommitLate,
}

impl Step {
    /// Nobody is pushed what is written behind the server's back.
    fn is_silent(self) -> bool {
        use Step::{BeginLate, Edit, EditInGroup, Read, ReadInGroup};
        matches!(self, Edit(..) | EditInGroup(_) | Read(..) | ReadInGroup(..) | BeginLate(_))
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let who = || 0..PEOPLE;
    let seq = || 1..6_i64;
    prop_oneof![
        3 => who().prop_map(Step::Connect),
        3 => who().prop_map(Step::Disconnect),
        2 => who().prop_map(Step::Sync),
        6 => (who(), who()).prop_map(|(from, to)| Step::Send(from, to)),
        6 => who().prop_map(Step::SendToGroup),
        2 => (who(), who()).prop_map(|(by, whom)| Step::Add(by, whom)),
        2 => who().prop_map(Step::Leave),
        2 => (who(), who(), seq()).prop_map(|(one, other, seq)| Step::Edit(one, other, seq)),
        2 => seq().prop_map(Step::EditInGroup),
        2 => (who(), who(), seq()).prop_map(|(one, other, seq)| Step::Read(one, other, seq)),
        2 => (who(), seq()).prop_map(|(who, seq)| Step::ReadInGroup(who, seq)),
        1 => who().prop_map(Step::BeginLate),
        1 => Just(Step::CommitLate),
    ]
}

/// What a client knows of one conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    read_seq: i64,
    /// Who wrote what, by `seq`.
    messages: BTreeMap<i64, (i64, String)>,
}

/// What a client knows: by the target of a conversation, as JSON.
type State = BTreeMap<String, Known>;

/// Somebody, with the device that acts and the one that is looked at.
struct Person {
    user: User,
    hand: Client,
    eye: Option<Client>,
    cursor: Value,
    state: State,
}

impl Person {
    async fn begin(server: &TestServer, name: &str) -> Self {
        let (user, mut hand) = server.client(name).await;
        let cursor = cursor(&mut hand).await;
        Self { user, hand, eye: None, cursor, state: State::new() }
    }

    async fn connect(&mut self, server: &TestServer) {
        if self.eye.is_none() {
            let mut eye = server.connect(&self.user).await;
            eye.call("subscribe", json!({ "events": ["own", "messages", "receipts", "groups"] })).await;
            self.eye = Some(eye);
            self.sync().await;
        }
    }

    /// By pages of 3, so that there are some.
    async fn sync(&mut self) {
        let Some(mut eye) = self.eye.take() else { return };
        loop {
            let reply = eye.call("sync", json!({ "cursor": self.cursor, "limit": 3 })).await;
            let (data, item) = (&reply["params"]["data"], &reply["params"]["item"]);
            assert_eq!(item["complete"], true, "{reply}");
            self.cursor = item["cursor"].clone();
            for row in data.as_array().expect("rows") {
                self.apply(&row["type"], &row["item"], &mut eye, true).await;
            }
            if item["more"] == false {
                break;
            }
        }
        self.eye = Some(eye);
        self.take_pushes().await;
    }

    async fn take_pushes(&mut self) {
        let Some(mut eye) = self.eye.take() else { return };
        eye.call("listLastMessage", json!({})).await;
        for push in eye.pushes_so_far() {
            self.apply(&push["type"], &push["params"]["item"], &mut eye, false).await;
        }
        self.eye = Some(eye);
    }

    /// A push may be older than what `sync` has told; a change that `sync` tells is as of now.
    async fn apply(&mut self, kind: &Value, item: &Value, eye: &mut Client, is_now: bool) {
        let me = self.user.id;
        match kind.as_str().expect("a type") {
            "privateMessage" | "messageInGroup" | "editMessage" => {
                let (seq, sender) =
                    (item["seq"].as_i64().expect("a seq"), item["senderId"].as_i64().expect("a sender"));
                let target = match item["groupId"].as_i64() {
                    Some(group) => json!({ "groupId": group }),
                    None if sender == me => json!({ "receiverId": item["receiverId"] }),
                    None => json!({ "receiverId": sender }),
                };
                // Of a group that I have not heard of I read all when I do.
                let known = match item["groupId"].as_i64() {
                    Some(_) => self.state.get_mut(&target.to_string()),
                    None => Some(self.state.entry(target.to_string()).or_default()),
                };
                let message = (sender, item["content"].as_str().expect("a content").to_owned());
                match known {
                    Some(known) if is_now => drop(known.messages.insert(seq, message)),
                    Some(known) => drop(known.messages.entry(seq).or_insert(message)),
                    None => {}
                }
            }
            "readMessages" if item["userId"] == me => {
                let target = target_of(item).to_string();
                if let Some(known) = self.state.get_mut(&target) {
                    known.read_seq = known.read_seq.max(item["seq"].as_i64().expect("a seq"));
                }
            }
            "addUserInGroup" | "leaveGroup" if item["userId"] == me => {
                let target = target_of(item);
                self.state.remove(&target.to_string());
                self.state.extend(read(eye, Some(&target)).await);
            }
            _ => {}
        }
    }

    /// How many messages of others are past the marker.
    fn unread(&self) -> BTreeMap<String, usize> {
        let count = |known: &Known| {
            known.messages.iter().filter(|(seq, (sender, _))| **seq > known.read_seq && *sender != self.user.id).count()
        };
        self.state.iter().map(|(target, known)| (target.clone(), count(known))).collect()
    }
}

fn target_of(item: &Value) -> Value {
    match item["groupId"].as_i64() {
        Some(group) => json!({ "groupId": group }),
        None => json!({ "receiverId": item["receiverId"] }),
    }
}

/// What there is to read afresh: of all conversations, or of one.
async fn read(client: &mut Client, only: Option<&Value>) -> State {
    let mut state = State::new();
    let list = client.call("listConversations", json!({ "limit": 100 })).await;
    for row in list["params"]["data"].as_array().expect("rows") {
        let target = target_of(row);
        if only.is_some_and(|only| *only != target) {
            continue;
        }
        let kind = if row["kind"] == "group" { "getlatestMessageGroup" } else { "getlatestMessageDialog" };
        let mut params = target.clone();
        params["limit"] = json!(100);
        let history = client.call(kind, params).await;
        let message = |row: &Value| {
            let content = row["content"].as_str().expect("a content").to_owned();
            (row["seq"].as_i64().expect("a seq"), (row["sender_id"].as_i64().expect("a sender"), content))
        };
        let messages = history["params"]["data"].as_array().expect("rows").iter().map(message).collect();
        state.insert(target.to_string(), Known { read_seq: row["readSeq"].as_i64().expect("a seq"), messages });
    }
    state
}

/// The unread counts that the server gives.
async fn unread_of(client: &mut Client) -> BTreeMap<String, usize> {
    let list = client.call("listConversations", json!({ "limit": 100 })).await;
    let rows = list["params"]["data"].as_array().expect("rows").iter();
    rows.map(|row| {
        let count = row["unreadCount"].as_u64().and_then(|count| usize::try_from(count).ok());
        (target_of(row).to_string(), count.expect("a count"))
    })
    .collect()
}

async fn run(server: &TestServer, steps: &[Step]) {
    let mut people = Vec::new();
    for nth in 0..PEOPLE {
        people.push(Person::begin(server, &format!("P{nth}-")).await);
    }
    let ids: Vec<i64> = people.iter().map(|person| person.user.id).collect();
    let late = server.user("Late").await;
    let mut behind = Behind::of(server).await;
    let mut other = server.sql().await;
    let group = people[0].hand.call("newGroup", json!({ "groupName": "G", "userIds": [ids[1]] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    for id in [ids[0], ids[1]] {
        behind.event(group, "addUserInGroup", Some(id)).await;
    }

    let mut late_is_open = false;
    for (nth, step) in steps.iter().enumerate() {
        let content = format!("m{nth}");
        match *step {
            Step::Connect(who) => people[who].connect(server).await,
            Step::Disconnect(who) => {
                if let Some(eye) = people[who].eye.take() {
                    eye.close().await;
                }
            }
            Step::Sync(who) => people[who].sync().await,
            Step::Send(from, to) => {
                let params = json!({ "receiverId": ids[to], "content": content });
                assert_eq!(people[from].hand.call("privateMessage", params).await["success"], true);
            }
            Step::SendToGroup(from) => {
                people[from].hand.call("messageInGroup", json!({ "groupId": group, "content": content })).await;
            }
            Step::Add(by, whom) => {
                let params = json!({ "groupId": group, "userId": ids[whom] });
                if people[by].hand.call("addUserInGroup", params).await["success"] == true {
                    behind.event(group, "addUserInGroup", Some(ids[whom])).await;
                }
            }
            Step::Leave(who) => {
                if people[who].hand.call("leaveGroup", json!({ "groupId": group })).await["success"] == true {
                    behind.event(group, "leaveGroup", Some(ids[who])).await;
                }
            }
            Step::Edit(one, other, seq) => {
                if let Some(dialog) = behind.find_dialog(ids[one], ids[other]).await {
                    behind.edit(dialog, seq, &content).await;
                }
            }
            Step::EditInGroup(seq) => behind.edit(group, seq, &content).await,
            Step::Read(one, other, seq) => {
                if let Some(dialog) = behind.find_dialog(ids[one], ids[other]).await {
                    behind.read(dialog, ids[one], seq, seq).await;
                }
            }
            Step::ReadInGroup(who, seq) => behind.read(group, ids[who], seq, seq).await,
            Step::BeginLate(to) => {
                if !late_is_open {
                    sqlx::query("begin").execute(&mut other).await.expect("a transaction");
                    write(&mut other, late.id, ids[to], &content).await;
                    late_is_open = true;
                }
            }
            Step::CommitLate => {
                sqlx::query("commit").execute(&mut other).await.expect("it commits");
                late_is_open = false;
            }
        }
    }
    sqlx::query("commit").execute(&mut other).await.expect("it commits");

    let is_silent = steps.iter().any(|step| step.is_silent());
    for person in &mut people {
        let fresh = read(&mut person.hand, None).await;
        if person.eye.is_some() && !is_silent {
            let what = format!("pushes alone told {} everything: {steps:?}", person.user.name);
            eventually(&what, async || {
                person.take_pushes().await;
                person.state == fresh
            })
            .await;
        } else {
            person.connect(server).await;
            person.sync().await;
        }
        assert_eq!(person.state, fresh, "{}: {steps:?}", person.user.name);
        assert_eq!(person.unread(), unread_of(&mut person.hand).await, "{}: {steps:?}", person.user.name);
    }
}

#[test]
fn pushes_and_sync_alone_say_what_a_fresh_read_says() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(any_step(), 1..40), |steps| {
        runtime.block_on(run(&server, &steps));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
