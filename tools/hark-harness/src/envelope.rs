//! The envelope of the protocol: what stands around the parameters of each request and in each error.

use serde_json::{Value, json};

/// The frame of a request. Its reply carries the same `id`.
#[must_use]
pub fn request(frame_type: &str, params: &Value, id: u64) -> String {
    json!({ "type": frame_type, "params": params, "id": id }).to_string()
}

/// The code of an error frame, or its message where the server gives no code.
#[must_use]
pub fn error_code(frame: &[u8]) -> String {
    let error: Value = serde_json::from_slice(frame).unwrap_or_default();
    let code = error.get("code").or_else(|| error.get("message")).and_then(Value::as_str);
    code.unwrap_or("an error without a code").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_code_falls_back_to_the_message() {
        assert_eq!(error_code(br#"{"error":true,"code":"overloaded","message":"Later"}"#), "overloaded");
        assert_eq!(error_code(br#"{"error":true,"message":"Later"}"#), "Later");
        assert_eq!(error_code(b"no JSON"), "an error without a code");
    }
}
