//! The fields of a request: of the `params` of a frame, of an HTTP body, or of a query string. A field is taken by
//! name and validated; an error is a sentence that begins with the name.
//!
//! The same code describes parameters for the API documents: it is run with a recorder instead of values.

mod types;

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Value as Schema, json};

pub use self::types::MAX_USERS_IN_A_LIST;
use crate::config::Limits;
use crate::error::{Code, Error};
use crate::model::{HistoryPage, HistoryStart, MAX_ID, Page, Refusal, Seq, Target, UserId};

/// The number of rows of a page without `limit`.
const DEFAULT_LIMIT: i64 = 20;
/// Maximum number of characters of an unknown field's name that an error repeats.
const MAX_NAME_CHARS: usize = 64;

/// The fields of one request, by name. Unknown ones are ignored.
#[derive(Debug)]
pub struct Fields<'a> {
    /// The prefix of a field's name in error sentences: `params.` for a frame.
    prefix: &'static str,
    values: HashMap<String, Value<'a>>,
    limits: &'a Limits,
    /// The recorder, if parameters are described instead of parsed.
    recorder: Option<&'a RefCell<ParamsSchema>>,
}

/// The schema of a type of parameters, recorded while it asks for its fields.
#[derive(Debug, Default)]
pub struct ParamsSchema {
    properties: serde_json::Map<String, Schema>,
    required: Vec<String>,
    exactly_one_of: Vec<&'static str>,
}

impl ParamsSchema {
    /// The schema of `T`.
    ///
    /// # Panics
    /// If `T` refuses the examples of its own fields, which a test would show.
    #[must_use]
    pub fn of<T: FromFields>(limits: &Limits) -> Self {
        let recorder = RefCell::default();
        let fields = Fields { prefix: "", values: HashMap::new(), limits, recorder: Some(&recorder) };
        T::from_fields(&fields).map(drop).expect("parameters take their own examples");
        recorder.into_inner()
    }

    /// The JSON Schema.
    #[must_use]
    pub fn into_schema(self) -> Schema {
        let mut schema = json!({ "type": "object", "properties": self.properties });
        if !self.required.is_empty() {
            schema["required"] = json!(self.required);
        }
        if !self.exactly_one_of.is_empty() {
            schema["oneOf"] = self.exactly_one_of.iter().map(|name| json!({ "required": [name] })).collect();
        }
        schema
    }

    fn add(&mut self, name: &str, schema: Schema) {
        self.properties.insert(name.to_owned(), schema);
    }
}

/// A value that is not validated yet.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// From a frame or a body.
    Json(&'a RawValue),
    /// From a query string.
    Text(&'a str),
}

impl Value<'_> {
    fn text(self) -> Result<String, Refusal> {
        match self {
            Self::Json(raw) => serde_json::from_str(raw.get()).map_err(|_| {
                // A JSON string that is not a Rust string contains a lone surrogate.
                let is_quoted = raw.get().starts_with('"');
                if is_quoted { "must not contain a lone surrogate" } else { "must be a string" }.into()
            }),
            Self::Text(text) => Ok(text.to_owned()),
        }
    }

    /// An integer from `min` to `max`. JSON has one type of numbers, so `1.0` and `1e2` are integers; the string
    /// `"1"` is not.
    fn integer(self, min: i64, max: i64) -> Result<i64, Refusal> {
        let number: Option<i64> = match self {
            Self::Json(raw) => serde_json::from_str(raw.get()).ok().or_else(|| exact_integer(raw)),
            Self::Text(text) => text.parse().ok(),
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            _ if max >= MAX_ID => Err(format!("must be an integer from {min}").into()),
            _ => Err(format!("must be an integer from {min} to {max}").into()),
        }
    }
}

/// A type of a field.
pub trait Param: Sized {
    /// # Errors
    /// The rest of a sentence that begins with the name of the field.
    fn parse(value: Value<'_>, limits: &Limits) -> Result<Self, Refusal>;

    /// The JSON Schema, with an `example`.
    fn schema(limits: &Limits) -> Schema;
}

/// The parameters of one type of request.
pub trait FromFields: Sized {
    /// # Errors
    /// `bad_params`, with a sentence that names the field at fault.
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error>;
}

impl<'a> Fields<'a> {
    /// The `params` of a frame; None is the same as `{}`.
    ///
    /// # Errors
    /// `bad_params` if it is not an object.
    pub fn of_params(params: Option<&'a RawValue>, limits: &'a Limits) -> Result<Self, Error> {
        let values = match params {
            Some(raw) => object(raw.get()).map_err(|_| Error::bad_params("params must be an object"))?,
            None => HashMap::new(),
        };
        Ok(Self { prefix: "params.", values, limits, recorder: None })
    }

    /// The body of an HTTP request.
    ///
    /// # Errors
    /// `bad_json` if it is not JSON, `bad_params` if it is not an object.
    pub fn of_body(body: &'a str, limits: &'a Limits) -> Result<Self, Error> {
        let values = object(body).map_err(|error| {
            if error.is_data() {
                Error::bad_params("The body must be an object")
            } else {
                Error::new(Code::BadJson, "The body is not JSON")
            }
        })?;
        Ok(Self { prefix: "", values, limits, recorder: None })
    }

    /// The decoded query string of an HTTP request.
    #[must_use]
    pub fn of_query(pairs: &'a [(String, String)], limits: &'a Limits) -> Self {
        let values = pairs.iter().map(|(name, text)| (name.clone(), Value::Text(text))).collect();
        Self { prefix: "", values, limits, recorder: None }
    }

    /// Whether a field is present, possibly as null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Refuses fields other than these, for a request in which a misspelt field would change the meaning.
    ///
    /// # Errors
    /// `bad_params` that names one of the others.
    pub fn only(&self, names: &[&str]) -> Result<(), Error> {
        let others = self.values.keys().filter(|name| !names.contains(&name.as_str()));
        match others.min() {
            // The client chose the name, so only its beginning is repeated.
            Some(other) => {
                let other: String = other.chars().take(MAX_NAME_CHARS).collect();
                Err(self.refuse(&other, &format!("is no field of this request; its fields are {}", names.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// The maximum number of rows of a page.
    #[must_use]
    pub fn max_page_rows(&self) -> i64 {
        self.limits.max_page_rows
    }

    /// A required field.
    ///
    /// # Errors
    /// `bad_params` if it is missing, null or not valid.
    ///
    /// # Panics
    /// If the schema of a type has no example, which a test would show.
    pub fn required<T: Param>(&self, name: &str) -> Result<T, Error> {
        if let Some(recorder) = self.recorder {
            let schema = T::schema(self.limits);
            let example = schema["example"].to_string();
            recorder.borrow_mut().add(name, schema);
            recorder.borrow_mut().required.push(name.to_owned());
            let example: &RawValue = serde_json::from_str(&example).expect("an example is JSON");
            return T::parse(Value::Json(example), self.limits).map_err(|refusal| self.refuse(name, &refusal));
        }
        self.optional(name)?.ok_or_else(|| self.refuse(name, "is required"))
    }

    /// An optional field; null is the same as missing.
    ///
    /// # Errors
    /// `bad_params` if it is present and not valid.
    pub fn optional<T: Param>(&self, name: &str) -> Result<Option<T>, Error> {
        if let Some(recorder) = self.recorder {
            recorder.borrow_mut().add(name, T::schema(self.limits));
        }
        match self.values.get(name) {
            Some(value) if !is_null(*value) => {
                T::parse(*value, self.limits).map(Some).map_err(|refusal| self.refuse(name, &refusal))
            }
            _ => Ok(None),
        }
    }

    /// A field for which null has a meaning: `None` if it is missing, `Some(None)` if it is null.
    ///
    /// # Errors
    /// `bad_params` if it is present and not valid.
    pub fn nullable<T: Param>(&self, name: &str) -> Result<Option<Option<T>>, Error> {
        let asked = self.values.contains_key(name) || self.recorder.is_some();
        if asked { self.optional(name).map(Some) } else { Ok(None) }
    }

    /// A required field that may be null.
    ///
    /// # Errors
    /// `bad_params` if it is missing or not valid.
    pub fn required_or_null<T: Param>(&self, name: &str) -> Result<Option<T>, Error> {
        let value = self.nullable(name)?;
        if let Some(recorder) = self.recorder {
            let recorder = &mut *recorder.borrow_mut();
            recorder.properties[name]["type"] = json!([recorder.properties[name]["type"], "null"]);
            recorder.required.push(name.to_owned());
            return Ok(None);
        }
        value.ok_or_else(|| self.refuse(name, "is required; null is a value of it"))
    }

    /// Exactly one of `receiverId` and `groupId`.
    ///
    /// # Errors
    /// `bad_params` if neither or both are present, or the one is not valid.
    pub fn target(&self) -> Result<Target, Error> {
        let target = self.optional_target()?;
        if let Some(recorder) = self.recorder {
            recorder.borrow_mut().exactly_one_of = vec!["receiverId", "groupId"];
            return Ok(Target::User(UserId(1)));
        }
        target.ok_or_else(|| self.refuse("receiverId", &format!("or {}groupId is required", self.prefix)))
    }

    /// One of `receiverId` and `groupId`, or neither.
    ///
    /// # Errors
    /// `bad_params` if both are present, or the one is not valid.
    pub fn optional_target(&self) -> Result<Option<Target>, Error> {
        match (self.optional("receiverId")?, self.optional("groupId")?) {
            (Some(_), Some(_)) => {
                Err(self.refuse("receiverId", &format!("and {}groupId exclude each other", self.prefix)))
            }
            (Some(user), None) => Ok(Some(Target::User(user))),
            (None, group) => Ok(group.map(Target::Group)),
        }
    }

    /// A `seq`, from 1.
    ///
    /// # Errors
    /// `bad_params` if it is present and not valid.
    pub fn seq(&self, name: &str) -> Result<Option<Seq>, Error> {
        self.integer(name, 1, MAX_ID)
    }

    /// `limit` and `page` of a list.
    ///
    /// # Errors
    /// `bad_params` if one is not valid.
    pub fn page(&self) -> Result<Page, Error> {
        let page = Page { limit: self.limit()?, page: self.integer("page", 1, MAX_ID)?.unwrap_or(1) };
        Ok(page)
    }

    /// `limit` and `page` or `before` of a history.
    ///
    /// # Errors
    /// `bad_params` if one is not valid, or both are present.
    pub fn history_page(&self) -> Result<HistoryPage, Error> {
        let limit = self.limit()?;
        let start = match (self.integer("page", 1, MAX_ID)?, self.integer("before", 1, MAX_ID)?) {
            (Some(_), Some(_)) => return Err(self.refuse("before", "and page exclude each other")),
            (_, Some(before)) => HistoryStart::Before(before),
            (page, None) => HistoryStart::Page(page.unwrap_or(1)),
        };
        Ok(HistoryPage { limit, start })
    }

    /// A `bad_params` error about one field.
    #[must_use]
    pub fn refuse(&self, name: &str, refusal: &str) -> Error {
        Error::bad_params(format!("{}{name} {refusal}", self.prefix))
    }

    /// The number of rows of a page, from `limit`.
    ///
    /// # Errors
    /// `bad_params` if it is not valid.
    pub fn limit(&self) -> Result<i64, Error> {
        let max = self.limits.max_page_rows;
        Ok(self.integer("limit", 1, max)?.unwrap_or(DEFAULT_LIMIT.min(max)))
    }

    fn integer(&self, name: &str, min: i64, max: i64) -> Result<Option<i64>, Error> {
        if let Some(recorder) = self.recorder {
            let mut schema = json!({ "type": "integer", "minimum": min });
            if max < MAX_ID {
                schema["maximum"] = json!(max);
            }
            recorder.borrow_mut().add(name, schema);
        }
        match self.values.get(name) {
            Some(value) if !is_null(*value) => {
                value.integer(min, max).map(Some).map_err(|refusal| self.refuse(name, &refusal))
            }
            _ => Ok(None),
        }
    }
}

/// The integer value of a number with a fraction or an exponent, such as `1.0` or `1e2`.
fn exact_integer(raw: &RawValue) -> Option<i64> {
    let number: f64 = serde_json::from_str(raw.get()).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
    let is_exact = number.abs() <= MAX_ID as f64;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within 2^53")]
    (is_exact && number.fract() == 0.0).then_some(number as i64)
}

fn object(json: &str) -> serde_json::Result<HashMap<String, Value<'_>>> {
    let raw: HashMap<String, &RawValue> = serde_json::from_str(json)?;
    Ok(raw.into_iter().map(|(name, value)| (name, Value::Json(value))).collect())
}

fn is_null(value: Value<'_>) -> bool {
    matches!(value, Value::Json(raw) if raw.get() == "null")
}
