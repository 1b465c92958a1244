//! Schemas of frames for the documents of the interface, made from the types that the code parses and serialises.

use serde_json::Value as Schema;
use utoipa::ToSchema;

/// A frame that a client may send.
#[derive(Debug)]
pub struct FrameSchema {
    /// Its `type`.
    pub kind: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// The schema of its `params`.
    pub params: Schema,
    /// What the reply holds: `item`, and the `rows` in `data`.
    pub reply: Vec<(&'static str, NamedSchema)>,
}

/// The schema of an item or a row, by the name of its type.
#[derive(Debug)]
pub struct NamedSchema {
    /// The name.
    pub name: String,
    /// Its schema, and those that it refers to.
    pub schemas: Vec<(String, Schema)>,
}

impl NamedSchema {
    /// Of a type.
    ///
    /// # Panics
    /// Never: a schema is plain JSON.
    #[must_use]
    pub fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut schemas = vec![(name.clone(), T::schema())];
        T::schemas(&mut schemas);
        let plain = |(name, schema)| (name, serde_json::to_value(schema).expect("a schema is plain JSON"));
        Self { name, schemas: schemas.into_iter().map(plain).collect() }
    }
}
