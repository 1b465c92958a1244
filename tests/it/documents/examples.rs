//! The examples of docs/frames.md match the AsyncAPI document, and a server answers them so.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use clap::Parser as _;
use futures_util::stream::{self, StreamExt as _};
use hark::config::Cli;
use serde_json::{Value, json};

use super::reference::{part, read};
use crate::support::{Client, TestServer, User, steady};

/// One section of docs/frames.md: a request, its reply, and the pushes that go with it, if any.
pub(super) struct Section {
    pub(super) kind: String,
    pub(super) examples: Vec<Value>,
}

pub(super) fn sections() -> Vec<Section> {
    let frames = read("docs/frames.md");
    let sections = part(&frames, "## The frames").split("\n### `").skip(1);
    sections
        .map(|section| {
            let (kind, text) = section.split_once("`\n").expect("a heading is a type in backticks");
            let blocks = text.split("\n```json\n").skip(1);
            let examples = blocks.map(|block| {
                let (json, _) = block.split_once("\n```").unwrap_or_else(|| panic!("{kind}: a block has no end"));
                serde_json::from_str(json).unwrap_or_else(|error| panic!("{kind}: {error} in {json}"))
            });
            Section { kind: kind.to_owned(), examples: examples.collect() }
        })
        .collect()
}

/// The state in which every example starts, as docs/frames.md says above them: Ann is user 1, Bob 2, Cleo
/// 3; Ann and Bob have greeted each other and are in group 2, where Bob has written. Bob has subscribed to
/// all events but presence, which depends on the pace of a server's start.
struct Fixture {
    server: TestServer,
    ann: User,
    ann_client: Client,
    bob_client: Client,
}

const ALL_BUT_PRESENCE: [&str; 7] = ["receipts", "typing", "groups", "contacts", "messages", "notifications", "own"];

impl Fixture {
    async fn start() -> Self {
        let server = TestServer::start().await;
        let (ann, mut ann_client) = server.connect_user("Ann").await;
        let (bob, mut bob_client) = server.connect_user("Bob").await;
        let cleo = server.create_user("Cleo").await;
        assert_eq!((ann.id, bob.id, cleo.id), (1, 2, 3));
        let named = sqlx::query("update users set username = lower(first_name)").execute(&mut server.sql().await).await;
        named.expect("they are all called something else");

        ann_client.send_content(&json!({ "receiverId": 2 }), "Hi Bob").await;
        bob_client.send_content(&json!({ "receiverId": 1 }), "Hi Ann").await;
        assert_eq!(ann_client.new_group(&[2]).await, 2);
        bob_client.send_content(&json!({ "groupId": 2 }), "Who brings the book?").await;
        // A sender's reply may overtake the push to the others.
        while ann_client.wait_for_push().await["type"] != "messageInGroup" {}
        bob_client.subscribe(&ALL_BUT_PRESENCE).await;
        Self { server, ann, ann_client, bob_client }
    }

    /// Creates what else there is before the example of a section, as the text of the section says.
    async fn prepare(&mut self, kind: &str) {
        let (client, asked, params) = match kind {
            "typing" | "setPresence" => (&mut self.bob_client, "openConversation", json!({ "receiverId": 1 })),
            "removeContact" | "listContacts" => (&mut self.ann_client, "addContact", json!({ "userId": 2 })),
            "unblockUser" | "listBlocked" => (&mut self.ann_client, "blockUser", json!({ "userId": 3 })),
            "removeGroupAdmin" => (&mut self.ann_client, "addGroupAdmin", json!({ "groupId": 2, "userId": 2 })),
            "listNotifications" | "readNotifications" => {
                let like = json!({ "userId": 1, "kind": "like", "data": { "photo": 3 } });
                (&mut self.bob_client, "sendNotification", like)
            }
            "sync" => (&mut self.bob_client, "privateMessage", json!({ "receiverId": 1, "content": "Still there?" })),
            _ => return,
        };
        client.call_ok(asked, params).await;
        if kind == "sync" {
            while self.ann_client.wait_for_push().await["type"] != "privateMessage" {}
        }
        if kind == "setPresence" {
            self.bob_client.subscribe(&["all"]).await;
        }
    }

    /// Sends the example of a section, and compares the reply and Bob's pushes.
    async fn play(&mut self, Section { kind, examples }: Section) {
        let mut examples = examples.into_iter();
        let (mut request, reply) = (examples.next().expect("a request"), examples.next());
        let pushes: Vec<Value> = examples.map(steady).collect();
        // No document can hold tokens and cursors: Ann's own replace them.
        if let Some(token) = request.pointer_mut("/params/token") {
            *token = json!(self.ann.token);
        }
        if let Some(cursor) = request.pointer_mut("/params/cursor") {
            *cursor = self.ann_client.call_ok("sync", json!({})).await["item"]["cursor"].take();
        }
        self.prepare(&kind).await;
        self.ann_client.discard_pushes().await;
        self.bob_client.discard_pushes().await;

        self.ann_client.send_text(&request.to_string()).await;
        let answer = self.ann_client.next_frame().await;
        assert_eq!(answer["success"], true, "{kind}: {answer}");
        assert_eq!(Some(steady(answer)), reply.map(steady), "{kind}: the reply");

        if kind == "setPresence" {
            // Only this push is sent by a timer. The presence push about Ann may still come before it.
            let mut received = self.bob_client.wait_for_push().await;
            while received["params"]["item"]["active"] == true {
                received = self.bob_client.wait_for_push().await;
            }
            assert_eq!([steady(received)], *pushes, "{kind}: the push");
            return;
        }
        // The chapter on notifications covers those that go with messages.
        let is_of_a_message = |push: &Value| push["params"]["item"]["kind"] == "message";
        let mut received = Vec::new();
        while received.len() < pushes.len() {
            received.extend(Some(self.bob_client.wait_for_push().await).filter(|push| !is_of_a_message(push)));
        }
        received.extend(self.bob_client.drain_pushes().await.into_iter().filter(|push| !is_of_a_message(push)));
        assert_eq!(received.into_iter().map(steady).collect::<Vec<_>>(), pushes, "{kind}: the pushes");
    }

    async fn end(self) {
        self.ann_client.close().await;
        self.bob_client.close().await;
        self.server.server.stop().await;
    }
}

/// Returns whether the next example may start where this one ends.
fn changes_nothing(kind: &str) -> bool {
    let needs_nothing = !["listContacts", "listBlocked", "listNotifications"].contains(&kind);
    needs_nothing && ["list", "get", "search"].iter().any(|verb| kind.starts_with(verb))
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_of_the_reference_are_answered_as_it_says() {
    let (reads, others): (Vec<_>, Vec<_>) = sections().into_iter().partition(|section| changes_nothing(&section.kind));
    let stories = [reads].into_iter().chain(others.into_iter().map(|section| vec![section]));
    // A server takes a second or two to start and to stop, so the next ones run meanwhile.
    stream::iter(stories)
        .for_each_concurrent(4, async |story| {
            let mut fixture = Fixture::start().await;
            for section in story {
                fixture.play(section).await;
            }
            fixture.end().await;
        })
        .await;
}

/// Returns whether a value matches a schema and has no key that the schema does not know.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(document, target(document, reference), value);
    }
    for alternatives in ["oneOf", "anyOf"] {
        // Alternatives that only list required keys combine with the rest of the schema.
        let alternatives = schema[alternatives].as_array().filter(|_| schema.get("properties").is_none());
        if let Some(alternatives) = alternatives {
            return alternatives.iter().any(|schema| fits(document, schema, value));
        }
    }
    if !schema["const"].is_null() {
        return schema["const"] == *value;
    }
    let is_named = |name: &Value| match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => name == "number" || (name == "integer" && number.is_i64()),
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    };
    let is_of_type = match &schema["type"] {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is_named),
        name => is_named(name),
    };
    is_of_type
        && match value {
            Value::Array(values) => values.iter().all(|value| fits(document, &schema["items"], value)),
            Value::Object(fields) => {
                let (mut properties, mut required) = (BTreeMap::new(), BTreeSet::new());
                shape(document, schema, &mut properties, &mut required);
                // Data that clients give each other has no schema.
                properties.is_empty()
                    || required.iter().all(|key| fields.contains_key(*key))
                        && fields.iter().all(|(key, value)| {
                            properties.get(key.as_str()).is_some_and(|schema| fits(document, schema, value))
                        })
            }
            _ => true,
        }
}

fn target<'a>(document: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference.strip_prefix('#').expect("a place in the same document");
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

/// Returns the keys of an object, with those of the objects that are part of it.
fn shape<'a>(
    document: &'a Value,
    schema: &'a Value,
    properties: &mut BTreeMap<&'a str, &'a Value>,
    required: &mut BTreeSet<&'a str>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        shape(document, target(document, reference), properties, required);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        shape(document, part, properties, required);
    }
    let own = schema["properties"].as_object().into_iter().flatten();
    properties.extend(own.map(|(key, schema)| (key.as_str(), schema)));
    required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
}

#[test]
fn examples_of_the_reference_match_the_asyncapi_document() {
    let limits = Cli::parse_from(["hark"]).config.limits;
    let document = hark::http::asyncapi(&limits);
    let payload = |name: String| {
        let message = &document["components"]["messages"][&name];
        assert!(message.is_object(), "no message {name}");
        &message["payload"]
    };
    for Section { kind, examples } in sections() {
        for (example, part) in examples.iter().zip(["request", "reply"].into_iter().chain(iter::repeat("push"))) {
            let name = format!("{}.{part}", example["type"].as_str().unwrap_or(&kind));
            assert!(fits(&document, payload(name), example), "{kind}: the {part} is something else: {example}");
        }
        assert!(examples.len() >= 2, "{kind} has a request and a reply");
    }
}

#[test]
fn schema_check_rejects_unknown_and_missing_keys() {
    let document = json!({ "A": { "properties": { "a": { "type": "integer" } }, "required": ["a"] } });
    let schema = json!({ "allOf": [{ "$ref": "#/A" }, { "properties": { "b": { "type": ["string", "null"] } } }] });
    let good = [json!({ "a": 1 }), json!({ "a": 1, "b": null }), json!({ "a": 1, "b": "x" })];
    let bad = [json!({ "b": "x" }), json!({ "a": "1" }), json!({ "a": 1, "b": 2 }), json!({ "a": 1, "c": 2 })];
    assert!(good.iter().all(|value| fits(&document, &schema, value)));
    assert!(!bad.iter().any(|value| fits(&document, &schema, value)));
    assert!(fits(&document, &json!({ "oneOf": [{ "type": "null" }, { "$ref": "#/A" }] }), &Value::Null));
}
