//! JSON schemas of frames, items and rows for the OpenAPI and AsyncAPI documents, made from the types that the
//! code reads and writes.
//!
//! What the server writes follows one convention: a key that may be null is always written, and a key that may
//! be left out is never null. So a nullable key is required, which [`require_nullable_keys`] adds to a schema,
//! and a field with `skip_serializing_if` says `#[schema(value_type = …, required = false)]`.

use serde_json::{Value as Schema, json};
use utoipa::ToSchema;

/// The schema of a frame that a client may send.
#[derive(Debug)]
pub struct FrameSchema {
    /// The `type` of the frame.
    pub kind: &'static str,
    /// What the frame does, in one sentence.
    pub summary: &'static str,
    /// The schema of `params`.
    pub params: Schema,
    /// What the reply holds: an `item`, and `rows` in `data`.
    pub reply: Vec<(&'static str, NamedSchema)>,
}

/// The schema of an item or a row, under the name of its type.
#[derive(Debug)]
pub struct NamedSchema {
    /// The name, to which references point.
    pub name: String,
    /// The schema of that name, and those that it refers to.
    pub schemas: Vec<(String, Schema)>,
}

impl NamedSchema {
    /// The schema of a type.
    ///
    /// # Panics
    /// Never: a schema is plain JSON.
    #[must_use]
    pub fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut schemas = vec![(name.clone(), T::schema())];
        T::schemas(&mut schemas);
        let to_json = |(name, schema)| {
            let mut schema = serde_json::to_value(schema).expect("a schema is plain JSON");
            require_nullable_keys(&mut schema);
            inline_integers(&mut schema);
            (name, schema)
        };
        schemas.retain(|(name, _)| name != INTEGER);
        Self { name, schemas: schemas.into_iter().map(to_json).collect() }
    }
}

/// Makes the keys that may be null required, in the schema of an object that the server writes.
pub fn require_nullable_keys(schema: &mut Schema) {
    for alternatives in ["allOf", "oneOf", "anyOf"] {
        let parts = schema.get_mut(alternatives).and_then(Schema::as_array_mut);
        parts.into_iter().flatten().for_each(require_nullable_keys);
    }
    let Some(properties) = schema.get("properties").and_then(Schema::as_object) else { return };
    let mut required = schema.get("required").and_then(Schema::as_array).cloned().unwrap_or_default();
    let nullable = properties.iter().filter(|(_, property)| is_nullable(property)).map(|(name, _)| json!(name));
    required.extend(nullable.collect::<Vec<_>>());
    required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    required.dedup();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
}

/// The name under which the derived schemas refer to an integer with an alias, such as `Seq`.
pub const INTEGER: &str = "i64";

/// Replaces references to [`INTEGER`] by its schema, so that generated clients have no type of that name.
pub fn inline_integers(schema: &mut Schema) {
    match schema {
        Schema::Object(fields) => {
            if fields.get("$ref").is_some_and(|target| *target == format!("#/components/schemas/{INTEGER}")) {
                fields.remove("$ref");
                fields.insert("type".to_owned(), json!("integer"));
                fields.insert("format".to_owned(), json!("int64"));
            }
            fields.values_mut().for_each(inline_integers);
        }
        Schema::Array(parts) => parts.iter_mut().for_each(inline_integers),
        _ => {}
    }
}

fn is_nullable(schema: &Schema) -> bool {
    let is_null = |name: &Schema| name == "null";
    let names_null = schema["type"].as_array().map_or(is_null(&schema["type"]), |names| names.iter().any(is_null));
    names_null || ["oneOf", "anyOf"].iter().any(|of| schema[of].as_array().into_iter().flatten().any(is_nullable))
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::model::Seq;

    #[derive(Serialize, ToSchema)]
    struct Inner {
        id: i64,
        note: Option<String>,
    }

    #[derive(Serialize, ToSchema)]
    struct Outer {
        #[serde(flatten)]
        inner: Inner,
        other: Option<Inner>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = String, required = false)]
        extra: Option<String>,
        seq: Seq,
    }

    #[test]
    fn named_schema_has_no_schema_of_a_plain_integer() {
        let schemas = NamedSchema::of::<Outer>().schemas;
        assert!(schemas.iter().all(|(name, _)| name != INTEGER));
        let text = json!(schemas).to_string();
        assert!(
            text.contains(r#""seq":{"format":"int64","type":"integer"}"#) && !text.contains("schemas/i64"),
            "{text}"
        );
    }

    #[test]
    fn named_schema_requires_nullable_keys_and_no_key_that_may_be_left_out() {
        let schemas = NamedSchema::of::<Outer>().schemas;
        let schema = |name: &str| &schemas.iter().find(|(known, _)| known == name).expect("a schema of this name").1;
        assert_eq!(schema("Inner")["required"], json!(["id", "note"]));
        let own = schema("Outer")["allOf"].as_array().and_then(|parts| parts.last()).expect("the own fields");
        assert_eq!(own["required"], json!(["other", "seq"]));
        assert_eq!(own["properties"]["extra"]["type"], "string");
    }
}
