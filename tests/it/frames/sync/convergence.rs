//! A property test: the state that a client builds from pushes and `sync` alone equals what it reads
//! afresh, whatever happens in which order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::helpers::{DatabaseWriter, cursor, write};
use crate::support::{Client, TestServer, User, eventually};

const USERS: usize = 3;

/// What happens. Users are numbered; each acts on another device than the one that is compared.
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
    /// A message of another user, which has its id now and commits with the next `CommitLate`.
    BeginLate(usize),
    CommitLate,
}

impl Step {
    /// Rows that are written behind the server's back cause no push.
    fn is_silent(self) -> bool {
        use Step::{BeginLate, Edit, EditInGroup, Read, ReadInGroup};
        matches!(self, Edit(..) | EditInGroup(_) | Read(..) | ReadInGroup(..) | BeginLate(_))
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let who = || 0..USERS;
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
    /// The sender and the content of each message, by `seq`.
    messages: BTreeMap<i64, (i64, String)>,
}

/// What a client knows, by the target of a conversation as JSON.
type State = BTreeMap<String, Known>;

/// A user, with the device that acts and the one that is compared.
struct Participant {
    user: User,
    acting: Client,
    compared: Option<Client>,
    cursor: Value,
    state: State,
}

impl Participant {
    async fn start(server: &TestServer, name: &str) -> Self {
        let (user, mut acting) = server.connect_user(name).await;
        let cursor = cursor(&mut acting).await;
        Self { user, acting, compared: None, cursor, state: State::new() }
    }

    async fn connect(&mut self, server: &TestServer) {
        if self.compared.is_none() {
            let mut compared = server.connect(&self.user).await;
            compared.call("subscribe", json!({ "events": ["own", "messages", "receipts", "groups"] })).await;
            self.compared = Some(compared);
            self.sync().await;
        }
    }

    /// Reads all pages since the last cursor, with 3 rows each, so that there are several.
    async fn sync(&mut self) {
        let Some(mut compared) = self.compared.take() else { return };
        loop {
            let reply = compared.call("sync", json!({ "cursor": self.cursor, "limit": 3 })).await;
            let (data, item) = (&reply["params"]["data"], &reply["params"]["item"]);
            assert_eq!(item["complete"], true, "{reply}");
            self.cursor = item["cursor"].clone();
            for row in data.as_array().expect("rows") {
                self.apply(&row["type"], &row["item"], &mut compared, true).await;
            }
            if item["more"] == false {
                break;
            }
        }
        self.compared = Some(compared);
        self.take_pushes().await;
    }

    async fn take_pushes(&mut self) {
        let Some(mut compared) = self.compared.take() else { return };
        compared.call("listLastMessage", json!({})).await;
        for push in compared.take_buffered_pushes() {
            self.apply(&push["type"], &push["params"]["item"], &mut compared, false).await;
        }
        self.compared = Some(compared);
    }

    /// A push may be older than what `sync` returned; a change that `sync` returns is current.
    async fn apply(&mut self, kind: &Value, item: &Value, compared: &mut Client, is_now: bool) {
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
                // A group that the client has not known is read as a whole.
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
                self.state.extend(read(compared, Some(&target)).await);
            }
            _ => {}
        }
    }

    /// Counts the messages of others past the marker.
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

/// Reads all conversations afresh, or one.
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

/// Reads the unread counts that the server gives.
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
    let mut participants = Vec::new();
    for nth in 0..USERS {
        participants.push(Participant::start(server, &format!("P{nth}-")).await);
    }
    let ids: Vec<i64> = participants.iter().map(|participant| participant.user.id).collect();
    let late = server.create_user("Late").await;
    let mut database = DatabaseWriter::of(server).await;
    let mut other = server.sql().await;
    let group = participants[0].acting.call("newGroup", json!({ "groupName": "G", "userIds": [ids[1]] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    for id in [ids[0], ids[1]] {
        database.event(group, "addUserInGroup", Some(id)).await;
    }

    let mut late_is_open = false;
    for (nth, step) in steps.iter().enumerate() {
        let content = format!("m{nth}");
        match *step {
            Step::Connect(who) => participants[who].connect(server).await,
            Step::Disconnect(who) => {
                if let Some(compared) = participants[who].compared.take() {
                    compared.close().await;
                }
            }
            Step::Sync(who) => participants[who].sync().await,
            Step::Send(from, to) => {
                let params = json!({ "receiverId": ids[to], "content": content });
                assert_eq!(participants[from].acting.call("privateMessage", params).await["success"], true);
            }
            Step::SendToGroup(from) => {
                participants[from].acting.call("messageInGroup", json!({ "groupId": group, "content": content })).await;
            }
            Step::Add(by, whom) => {
                let params = json!({ "groupId": group, "userId": ids[whom] });
                if participants[by].acting.call("addUserInGroup", params).await["success"] == true {
                    database.event(group, "addUserInGroup", Some(ids[whom])).await;
                }
            }
            Step::Leave(who) => {
                if participants[who].acting.call("leaveGroup", json!({ "groupId": group })).await["success"] == true {
                    database.event(group, "leaveGroup", Some(ids[who])).await;
                }
            }
            Step::Edit(one, other, seq) => {
                if let Some(dialog) = database.find_dialog(ids[one], ids[other]).await {
                    database.edit(dialog, seq, &content).await;
                }
            }
            Step::EditInGroup(seq) => database.edit(group, seq, &content).await,
            Step::Read(one, other, seq) => {
                if let Some(dialog) = database.find_dialog(ids[one], ids[other]).await {
                    database.read(dialog, ids[one], seq, seq).await;
                }
            }
            Step::ReadInGroup(who, seq) => database.read(group, ids[who], seq, seq).await,
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
    for participant in &mut participants {
        let fresh = read(&mut participant.acting, None).await;
        if participant.compared.is_some() && !is_silent {
            let what = format!("pushes alone brought {} everything: {steps:?}", participant.user.name);
            eventually(&what, async || {
                participant.take_pushes().await;
                participant.state == fresh
            })
            .await;
        } else {
            participant.connect(server).await;
            participant.sync().await;
        }
        assert_eq!(participant.state, fresh, "{}: {steps:?}", participant.user.name);
        assert_eq!(
            participant.unread(),
            unread_of(&mut participant.acting).await,
            "{}: {steps:?}",
            participant.user.name
        );
    }
}

#[test]
fn sync_and_pushes_alone_equal_a_fresh_read() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(any_step(), 1..40), |steps| {
        runtime.block_on(run(&server, &steps));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
