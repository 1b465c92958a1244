//! A plain HTTP client.

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::{TEST_TIMEOUT, TestServer};

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl TestServer {
    /// Builds a request without a token and a body.
    pub fn http(&self, method: &str, path: &str) -> RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(TEST_TIMEOUT);
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        client.build().expect("a client").request(method, self.url(path))
    }

    /// Sends a request with a token, without a body if it is null.
    pub async fn as_user(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = self.http(method, path).bearer_auth(token);
        answer(if body.is_null() { request } else { request.json(&body) }).await
    }
}

/// Sends a request and reads the response.
pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("a whole answer") }
}

impl Answer {
    /// Returns a header, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("readable"))
    }

    /// Asserts the status of a response and returns its body.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_str(&self.text).expect("JSON")
    }

    /// Asserts that a refusal has exactly a code and a sentence, and returns the sentence.
    pub fn refused(&self, status: u16, code: &str) -> String {
        let body = self.ok(status);
        let message = body["message"].as_str().unwrap_or_else(|| panic!("no message: {self:?}")).to_owned();
        assert_eq!(body, serde_json::json!({ "message": message, "code": code }));
        message
    }

    /// Asserts a success without a body.
    pub fn no_content(&self) {
        assert_eq!((self.status, self.text.as_str()), (204, ""), "{self:?}");
    }
}

/// Replaces what differs between runs by a word: times, tokens and cursors of the right form.
pub fn steady(mut value: Value) -> Value {
    match &mut value {
        Value::Array(values) => values.iter_mut().for_each(|value| *value = steady(value.take())),
        Value::Object(fields) => fields.values_mut().for_each(|value| *value = steady(value.take())),
        Value::String(text) if is_time(text) => "[time]".clone_into(text),
        Value::String(text) if text.starts_with("eyJ") && text.split('.').count() == 3 => "[token]".clone_into(text),
        Value::String(text) if is_cursor(text) => "[cursor]".clone_into(text),
        _ => {}
    }
    value
}

/// Returns whether a text is an RFC 3339 time in UTC with milliseconds.
fn is_time(text: &str) -> bool {
    let form: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    form == "0000-00-00T00:00:00.000Z"
}

/// Returns whether a text is an epoch and a snapshot, as in `1.728:728:`.
fn is_cursor(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let Some((epoch, snapshot)) = text.split_once('.') else { return false };
    let ends: Vec<&str> = snapshot.splitn(3, ':').collect();
    digits(epoch)
        && ends.len() == 3
        && ends[..2].iter().all(|end| digits(end))
        && ends[2].chars().all(|c| c.is_ascii_digit() || c == ',')
}
