//! The AsyncAPI document of the WebSocket, made from the types that read requests and write replies and pushes.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::{Map, Value, json};

use super::memory::SharedJson;
use crate::app::App;
use crate::commands;
use crate::config::Limits;
use crate::error::Code;
use crate::model::Topic;
use crate::wire::schema::{FrameSchema, NamedSchema};

/// The document of a server with these limits. `hark asyncapi` prints it, and `openapi/asyncapi.json` is the one of
/// the default limits.
#[must_use]
pub fn asyncapi(limits: &Limits) -> Value {
    let mut document = Document::default();
    for frame in commands::Command::frames(limits) {
        document.request(frame);
    }
    for (kind, topic, item) in commands::pushes() {
        document.push(kind, topic, item);
    }
    document.finish()
}

/// The document of this server, once it was requested.
#[derive(Debug, Default)]
pub(super) struct AsyncapiDocument(SharedJson);

/// Read the AsyncAPI document of the WebSocket
#[utoipa::path(get, path = "/api/asyncapi.json", operation_id = "readAsyncapi", tag = "operations", responses(
    (status = 200, body = Object, description = "The document"),
))]
pub(super) async fn asyncapi_document(app: Data<App>, document: Data<AsyncapiDocument>) -> HttpResponse {
    document.0.respond(|| asyncapi(&app.config.limits))
}

#[derive(Default)]
struct Document {
    messages: Map<String, Value>,
    operations: Map<String, Value>,
    schemas: Map<String, Value>,
    /// References to the messages of pushes.
    pushes: Vec<Value>,
}

impl Document {
    fn request(&mut self, FrameSchema { kind, summary, params, reply }: FrameSchema) {
        let needs_params = params.get("required").is_some() || params.get("oneOf").is_some();
        let required: &[&str] = if needs_params { &["type", "params"] } else { &["type"] };
        let request = json!({
            "type": "object",
            "required": required,
            "properties": {
                "type": { "const": kind },
                "params": params,
                "id": { "type": ["string", "number"], "description": "The reply has the same id, as it was written" },
            },
        });
        self.message(&format!("{kind}.request"), summary, &request);
        let mut item = None;
        let mut data = json!({ "type": "null" });
        for (part, schema) in reply {
            match part {
                "item" => item = Some(self.reference(schema)),
                _ => data = json!({ "type": "array", "items": self.reference(schema) }),
            }
        }
        self.message(&format!("{kind}.reply"), "The reply", &success(kind, &data, item, true));
        self.operations.insert(
            kind.to_owned(),
            json!({
                "action": "receive",
                "summary": summary,
                "channel": { "$ref": "#/channels/socket" },
                "messages": [in_channel(&format!("{kind}.request"))],
                "reply": {
                    "channel": { "$ref": "#/channels/socket" },
                    "messages": [in_channel(&format!("{kind}.reply")), in_channel("error")],
                },
            }),
        );
    }

    fn push(&mut self, kind: &str, topic: Option<Topic>, item: NamedSchema) {
        let name = format!("{kind}.push");
        let summary = match topic {
            Some(topic) => format!("A push to sockets that have subscribed to {}", topic.name()),
            None => "A push to every socket".to_owned(),
        };
        let item = self.reference(item);
        self.message(&name, &summary, &success(kind, &json!({ "type": "null" }), Some(item), false));
        self.pushes.push(in_channel(&name));
    }

    fn message(&mut self, name: &str, summary: &str, payload: &Value) {
        self.messages.insert(name.to_owned(), json!({ "name": name, "summary": summary, "payload": payload }));
    }

    fn reference(&mut self, NamedSchema { name, schemas }: NamedSchema) -> Value {
        self.schemas.extend(schemas);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    fn finish(mut self) -> Value {
        self.message("error", "The error of a request", &error());
        let in_components = |name: &String| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") }));
        let channel: Map<String, Value> = self.messages.keys().map(in_components).collect();
        self.operations.insert(
            "pushes".to_owned(),
            json!({
                "action": "send",
                "summary": "Pushes: events that others cause",
                "channel": { "$ref": "#/channels/socket" },
                "messages": self.pushes,
            }),
        );
        json!({
            "asyncapi": "3.0.0",
            "info": {
                "title": "Hark",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Each WebSocket message is one JSON object. Accounts are HTTP: see openapi.json. Rules, limits and examples: docs/frames.md.",
            },
            "servers": {
                "local": {
                    "host": "localhost:3000",
                    "protocol": "ws",
                    "security": [{ "$ref": "#/components/securitySchemes/bearer" }],
                },
            },
            "defaultContentType": "application/json",
            "channels": { "socket": { "address": "/", "messages": channel } },
            "operations": self.operations,
            "components": {
                "messages": self.messages,
                "schemas": self.schemas,
                "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            },
        })
    }
}

/// The frames whose reply has an item in some cases only: a search, if it stopped before its page was full.
const OPTIONAL_ITEMS: [&str; 1] = ["searchMessages"];

/// The envelope of a reply, or of a push, which has no `id`.
fn success(kind: &str, data: &Value, item: Option<Value>, is_reply: bool) -> Value {
    let text = json!({ "type": ["string", "null"] });
    let mut params = json!({
        "type": "object",
        "required": ["data", "message", "senderName"],
        "properties": { "data": data, "message": text, "senderName": text },
    });
    if let Some(item) = item {
        params["properties"]["item"] = item;
        if !OPTIONAL_ITEMS.contains(&kind) {
            params["required"] = json!(["data", "message", "senderName", "item"]);
        }
    }
    let mut envelope = json!({
        "type": "object",
        "required": ["type", "success", "params"],
        "properties": { "type": { "const": kind }, "success": { "const": true }, "params": params },
    });
    if is_reply {
        envelope["properties"]["id"] = json!({ "type": ["string", "number"] });
    }
    envelope
}

/// The envelope of an error.
fn error() -> Value {
    json!({
        "type": "object",
        "required": ["error", "type", "message", "code"],
        "properties": {
            "error": { "const": true },
            "type": { "type": "string", "description": "The type of the request that failed; processor where it could not be read" },
            "message": { "type": "string", "description": "One sentence for a person, which names the field at fault" },
            "code": { "enum": Code::ALL },
            "retryAfterMs": { "type": "integer", "description": "When to try again, with rate_limited" },
            "id": { "type": ["string", "number"] },
        },
    })
}

/// A reference to a message of the channel.
fn in_channel(message: &str) -> Value {
    json!({ "$ref": format!("#/channels/socket/messages/{message}") })
}
