//! Runs one case: sends the same requests to the server and to the model, and compares everything that can
//! be observed of both after each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::operations::{Operation, QUIET, Reference, SOCKETS, Target, USERS};
use super::rules::Reply;
use super::state::{Model, Socket, UserState};
use super::views::FILTERS;
use crate::support::{Client, TestServer, steady};

/// How long a push may take, and how long once a failure is known.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
const SHRINKING_PUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// Runs a case with new users. The error describes the difference and lists the frames that led to it.
pub async fn run(server: &TestServer, operations: &[Operation], shrinking: bool) -> Result<(), String> {
    let mut case = Case::start(server, shrinking).await;
    let compared = case.run_all(operations).await;
    compared.map_err(|difference| {
        let frames = case.frames.iter().fold(String::new(), |mut all, frame| {
            let _ = write!(all, "\n    {frame}");
            all
        });
        format!("{difference}\n  after these frames:{frames}\n")
    })
}

struct Case {
    model: Model,
    clients: Vec<Client>,
    /// Every request so far, as it was sent.
    frames: Vec<String>,
    /// While a failure shrinks, a case runs many times, and only its end is compared as a whole.
    shrinking: bool,
}

/// A request that only reads, and the reply that it must get.
struct Question {
    user: usize,
    kind: &'static str,
    params: Value,
    answer: Reply,
}

impl Case {
    async fn start(server: &TestServer, shrinking: bool) -> Self {
        let users = server.create_users("Person", USERS).await;
        let mut clients = Vec::new();
        for (place, user) in SOCKETS.iter().enumerate() {
            let mut client = server.connect(&users[*user]).await;
            if place != QUIET {
                client.call("subscribe", json!({ "events": ["all"] })).await;
            }
            clients.push(client);
        }
        let sockets = SOCKETS.iter().enumerate();
        let model = Model {
            users: users.into_iter().map(|user| UserState { id: user.id, name: user.name }).collect(),
            sockets: sockets
                .map(|(place, user)| Socket { user: *user, wants_all: place != QUIET, open: BTreeSet::new() })
                .collect(),
            ..Model::default()
        };
        Self { model, clients, frames: Vec::new(), shrinking }
    }

    async fn run_all(&mut self, operations: &[Operation]) -> Result<(), String> {
        for operation in operations {
            self.step(operation).await?;
        }
        self.ask(self.all_questions()).await?;
        self.no_more_pushes().await
    }

    async fn step(&mut self, operation: &Operation) -> Result<(), String> {
        let (kind, params) = operation.request.frame(&|thing| self.model.id(thing));
        let user = SOCKETS[operation.socket];
        self.frames.push(format!("user {user}, socket {}: {kind} {params}", operation.socket));
        let reply = self.clients[operation.socket].call(kind, params).await;
        let item = &reply["params"]["item"];
        let given = item["messageId"].as_i64().or(item["groupId"].as_i64());
        let expected = self.model.apply(operation, given);
        compare_reply(kind, &expected.reply, reply)?;
        for (socket, pushes) in expected.pushes.iter().enumerate() {
            self.await_pushes(socket, pushes).await?;
        }
        if !self.shrinking {
            self.ask(self.questions_after(operation)).await?;
        }
        // The replies are a fence for everything else that the request caused.
        self.no_more_pushes().await
    }

    /// Waits for exactly these pushes on a socket. A reply to another socket is no fence for them.
    async fn await_pushes(&mut self, socket: usize, pushes: &[Value]) -> Result<(), String> {
        let push_timeout = if self.shrinking { SHRINKING_PUSH_TIMEOUT } else { PUSH_TIMEOUT };
        for (nth, expected) in pushes.iter().enumerate() {
            let actual = loop {
                match timeout(push_timeout, self.clients[socket].wait_for_push()).await {
                    Ok(push) if is_presence(&push) => {}
                    Ok(push) => break steady(push),
                    Err(_) => return Err(format!("socket {socket} never got push {nth}, {expected}")),
                }
            };
            compare(&format!("push {nth} to socket {socket}"), expected, &actual)?;
        }
        Ok(())
    }

    async fn no_more_pushes(&mut self) -> Result<(), String> {
        let mut fences = Vec::new();
        for client in &mut self.clients {
            fences.push(client.send("getOnlineInfo", json!({ "userIds": [] })).await);
        }
        for (socket, fence) in fences.into_iter().enumerate() {
            self.clients[socket].wait_for_reply_to(fence).await;
            let mut pushes = self.clients[socket].take_buffered_pushes();
            pushes.retain(|push| !is_presence(push));
            if let Some(push) = pushes.first() {
                return Err(format!("socket {socket} was pushed what was not for it: {push}"));
            }
        }
        Ok(())
    }

    /// Asks all questions at once, each user over the first of their sockets.
    async fn ask(&mut self, questions: Vec<Question>) -> Result<(), String> {
        let mut asked = Vec::new();
        for question in questions {
            let socket = SOCKETS.iter().position(|user| *user == question.user).expect("every user has a socket");
            let id = self.clients[socket].send(question.kind, question.params.clone()).await;
            asked.push((socket, id, question));
        }
        for (socket, id, Question { user, kind, params, answer }) in asked {
            let reply = self.clients[socket].wait_for_reply_to(id).await;
            compare_reply(&format!("{kind} {params} of user {user}"), &answer, reply)?;
        }
        Ok(())
    }

    /// Returns questions for the lists of all users, and for the conversation of the operation.
    fn questions_after(&self, operation: &Operation) -> Vec<Question> {
        let mut questions = Vec::new();
        let who_asked = SOCKETS[operation.socket];
        let meant = operation.request.conversation(&self.model, who_asked);
        for user in 0..USERS {
            questions.push(self.list(user, "all"));
            questions.push(self.last_messages(user));
            if let Some(target) = meant.and_then(|conversation| self.as_named_by(user, conversation)) {
                questions.push(self.history(user, target));
                if user == who_asked {
                    questions.push(self.state(user, target));
                }
            }
        }
        questions
    }

    /// Returns questions for everything that every user may read.
    fn all_questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        // The range includes one more than there are of each, because what does not exist must not be readable.
        let groups = (0..=self.model.groups().count()).map(Target::Group);
        let targets: Vec<Target> = (0..=USERS).map(Target::User).chain(groups).collect();
        for user in 0..USERS {
            questions.extend(FILTERS.iter().map(|filter| self.list(user, filter)));
            questions.push(self.last_messages(user));
            questions.push(self.search(user, None));
            for target in &targets {
                questions.push(self.search(user, Some(*target)));
                questions.extend([self.history(user, *target), self.state(user, *target)]);
                questions.extend(self.parts_of_history(user, *target));
            }
        }
        questions
    }

    fn list(&self, user: usize, filter: &str) -> Question {
        let answer = Ok(data(self.model.conversations_of(user, filter)));
        Question { user, kind: "listConversations", params: json!({ "limit": 100, "filter": filter }), answer }
    }

    fn last_messages(&self, user: usize) -> Question {
        let answer = Ok(data(self.model.last_messages_of(user)));
        Question { user, kind: "listLastMessage", params: json!({ "limit": 100 }), answer }
    }

    fn search(&self, user: usize, target: Option<Target>) -> Question {
        let word = if self.frames.len().is_multiple_of(2) { "tea" } else { "cake" };
        let params = json!({ "query": word, "limit": 100 });
        let Some(target) = target else {
            let answer = Ok(data(self.model.found(user, word, None)));
            return Question { user, kind: "searchMessages", params, answer };
        };
        let found = self.model.find(user, target);
        let rows = found.map(|found| found.map_or(Vec::new(), |place| self.model.found(user, word, Some(place))));
        Question { user, kind: "searchMessages", params: self.named(target, params), answer: rows.map(data) }
    }

    /// Asks for the state of a conversation with its members.
    fn state(&self, user: usize, target: Target) -> Question {
        let found = self.model.find(user, target).and_then(|found| found.ok_or("not_found"));
        let answer = found.map(|place| json!({ "item": self.model.conversation_item(user, place) }));
        Question { user, kind: "getConversation", params: self.named(target, json!({})), answer }
    }

    /// Asks for all messages of a conversation.
    fn history(&self, user: usize, target: Target) -> Question {
        self.part_of_history(user, target, json!({ "limit": 100 }), |rows| rows)
    }

    /// Asks for the second page of the history, and for the messages before a given one.
    fn parts_of_history(&self, user: usize, target: Target) -> [Question; 2] {
        let before_three = |mut rows: Vec<Value>| {
            rows.retain(|row| row["seq"].as_i64() < Some(3));
            rows
        };
        [
            self.part_of_history(user, target, json!({ "limit": 2, "page": 2 }), |rows| {
                rows.into_iter().skip(2).take(2).collect()
            }),
            self.part_of_history(user, target, json!({ "before": 3 }), before_three),
        ]
    }

    fn part_of_history(
        &self,
        user: usize,
        target: Target,
        params: Value,
        part: impl FnOnce(Vec<Value>) -> Vec<Value>,
    ) -> Question {
        let kind = match target {
            Target::User(_) => "getlatestMessageDialog",
            Target::Group(_) => "getlatestMessageGroup",
        };
        let found = self.model.find(user, target);
        let rows = found.map(|found| found.map_or(Vec::new(), |place| self.model.history(user, place)));
        Question { user, kind, params: self.named(target, params), answer: rows.map(part).map(data) }
    }

    fn named(&self, target: Target, mut params: Value) -> Value {
        match target {
            Target::User(nth) => params["receiverId"] = self.model.id(Reference::User(nth)),
            Target::Group(nth) => params["groupId"] = self.model.id(Reference::Group(nth)),
        }
        params
    }

    /// Returns how `user` names a conversation, whether or not they are in it; nobody can name a dialog of
    /// others.
    fn as_named_by(&self, user: usize, conversation: usize) -> Option<Target> {
        if let Some(nth) = self.model.groups().position(|group| group == conversation) {
            return Some(Target::Group(nth));
        }
        self.model.conversations[conversation].member(user)?;
        self.model.peer(user, conversation).map(Target::User)
    }
}

fn data(rows: Vec<Value>) -> Value {
    let mut params = json!({});
    params["data"] = Value::Array(rows);
    params
}

fn is_presence(push: &Value) -> bool {
    push["type"] == "onlineInfo"
}

fn compare_reply(what: &str, expected: &Reply, actual: Value) -> Result<(), String> {
    let expected = match expected {
        Ok(params) => json!({ "success": true, "params": params }),
        Err(code) => json!({ "error": true, "code": code }),
    };
    compare(&format!("the reply to {what}"), &expected, &steady(actual))
}

fn compare(what: &str, expected: &Value, actual: &Value) -> Result<(), String> {
    match difference(expected, actual) {
        Some(difference) => {
            Err(format!("{what}: {difference}\n  the model has  {expected}\n  the server has {actual}"))
        }
        None => Ok(()),
    }
}

/// Returns the first place where the server's value differs. Keys that the model does not have are not
/// compared: clients ignore keys that they do not know.
fn difference(expected: &Value, actual: &Value) -> Option<String> {
    match (expected, actual) {
        (Value::Object(fields), Value::Object(_)) => fields.iter().find_map(|(name, field)| {
            difference(field, &actual[name.as_str()]).map(|difference| format!("{name}.{difference}"))
        }),
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            let mut pairs = expected.iter().zip(actual).enumerate();
            pairs.find_map(|(nth, (expected, actual))| {
                difference(expected, actual).map(|difference| format!("{nth}.{difference}"))
            })
        }
        _ if expected == actual => None,
        _ => Some(format!(" {expected} is {actual}")),
    }
}
