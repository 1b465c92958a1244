//! The fields of a request: of a frame's `params`, an HTTP body or a query string. Each is taken
//! by name and checked on the way out; what is wrong with one is a sentence that begins with its name.

mod types;

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Value as Schema, json};

pub use self::types::MAX_USERS_IN_A_LIST;
use crate::config::Limits;
use crate::error::{Code, Error};
use crate::model::{HistoryPage, MAX_ID, Page, Refusal, Seq, Start, Target, UserId};

/// Rows of a page where the caller does not say.
const DEFAULT_LIMIT: i64 = 20;
/// How much of an unknown field's name an error repeats.
const MAX_NAME_CHARS: usize = 64;

/// The fields of one request, by name. Those that nobody asks for are ignored.
#[derive(Debug)]
pub struct Fields<'a> {
    /// What a sentence puts before a field's name.
    prefix: &'static str,
    values: HashMap<String, Value<'a>>,
    limits: &'a Limits,
    /// Where the fields that are asked for are written down instead of taken.
    description: Option<&'a RefCell<Description>>,
}

/// What a type of parameters takes: found by letting it ask for its fields.
#[derive(Debug, Default)]
pub struct Description {
    properties: serde_json::Map<String, Schema>,
    required: Vec<String>,
    exactly_one_of: Vec<&'static str>,
}

impl Description {
    /// What `T` takes.
    ///
    /// # Panics
    /// Where `T` does not take what its own fields give as examples.
    #[must_use]
    pub fn of<T: FromFields>(limits: &Limits) -> Self {
        let description = RefCell::default();
        let fields = Fields { prefix: "", values: HashMap::new(), limits, description: Some(&description) };
        T::from_fields(&fields).map(drop).expect("parameters take their own examples");
        description.into_inner()
    }

    /// As JSON Schema.
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

/// One value, before it is checked.
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
                // What is quoted and is no text all the same has half of a UTF-16 pair in it.
                let is_quoted = raw.get().starts_with('"');
                if is_quoted { "must not contain a lone surrogate" } else { "must be a string" }.into()
            }),
            Self::Text(text) => Ok(text.to_owned()),
        }
    }

    /// An integer from `min` to `max`. JSON has one type of numbers, so `1.0` and `1e2` are integers;
    /// `"1"` is none.
    fn integer(self, min: i64, max: i64) -> Result<i64, Refusal> {
        let number: Option<i64> = match self {
            Self::Json(raw) => serde_json::from_str(raw.get()).ok().or_else(|| whole(raw)),
            Self::Text(text) => text.parse().ok(),
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            _ if max >= MAX_ID => Err(format!("must be an integer from {min}").into()),
            _ => Err(format!("must be an integer from {min} to {max}").into()),
        }
    }
}

/// A type that a field's value can become.
pub trait Param: Sized {
    /// # Errors
    /// The rest of a sentence that begins with the field's name.
    fn parse(value: Value<'_>, limits: &Limits) -> Result<Self, Refusal>;

    /// What is taken, as JSON Schema with an `example`.
    fn schema(limits: &Limits) -> Schema;
}

/// The parameters of one request, as a whole.
pub trait FromFields: Sized {
    /// # Errors
    /// `bad_params`, with a sentence that names the field at fault.
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error>;
}

impl<'a> Fields<'a> {
    /// The `params` of a frame; left out is as good as `{}`.
    ///
    /// # Errors
    /// `bad_params` where it is not an object.
    pub fn of_params(params: Option<&'a RawValue>, limits: &'a Limits) -> Result<Self, Error> {
        let values = match params {
            Some(raw) => object(raw.get()).map_err(|_| Error::bad_params("params must be an object"))?,
            None => HashMap::new(),
        };
        Ok(Self { prefix: "params.", values, limits, description: None })
    }

    /// The body of an HTTP request.
    ///
    /// # Errors
    /// `bad_json` where it is not JSON, `bad_params` where it is not an object.
    pub fn of_body(body: &'a str, limits: &'a Limits) -> Result<Self, Error> {
        let values = object(body).map_err(|error| {
            if error.is_data() {
                Error::bad_params("The body must be an object")
            } else {
                Error::new(Code::BadJson, "The body is not JSON")
            }
        })?;
        Ok(Self { prefix: "", values, limits, description: None })
    }

    /// The query string of an HTTP request, decoded.
    #[must_use]
    pub fn of_query(pairs: &'a [(String, String)], limits: &'a Limits) -> Self {
        let values = pairs.iter().map(|(name, text)| (name.clone(), Value::Text(text))).collect();
        Self { prefix: "", values, limits, description: None }
    }

    /// Whether a field is there, null included.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Refuses fields other than these, for a request in which a misspelt one would be lost.
    ///
    /// # Errors
    /// `bad_params` that names one of the others.
    pub fn only(&self, names: &[&str]) -> Result<(), Error> {
        let others = self.values.keys().filter(|name| !names.contains(&name.as_str()));
        match others.min() {
            // The name is the client's; a sentence has room for the beginning of it.
            Some(other) => {
                let other: String = other.chars().take(MAX_NAME_CHARS).collect();
                Err(self.refuse(&other, &format!("is no field of this request; its fields are {}", names.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// Most rows of a page.
    #[must_use]
    pub fn max_page_rows(&self) -> i64 {
        self.limits.max_page_rows
    }

    /// A field that has to be there.
    ///
    /// # Errors
    /// `bad_params` where it is missing, null or out of its range.
    ///
    /// # Panics
    /// Where the schema of a type has no example, which a test would show.
    pub fn required<T: Param>(&self, name: &str) -> Result<T, Error> {
        if let Some(description) = self.description {
            let schema = T::schema(self.limits);
            let example = schema["example"].to_string();
            description.borrow_mut().add(name, schema);
            description.borrow_mut().required.push(name.to_owned());
            let example: &RawValue = serde_json::from_str(&example).expect("an example is JSON");
            return T::parse(Value::Json(example), self.limits).map_err(|refusal| self.refuse(name, &refusal));
        }
        self.optional(name)?.ok_or_else(|| self.refuse(name, "is required"))
    }

    /// A field that may be missing or null.
    ///
    /// # Errors
    /// `bad_params` where it is there and out of its range.
    pub fn optional<T: Param>(&self, name: &str) -> Result<Option<T>, Error> {
        if let Some(description) = self.description {
            description.borrow_mut().add(name, T::schema(self.limits));
        }
        match self.values.get(name) {
            Some(value) if !is_null(*value) => {
                T::parse(*value, self.limits).map(Some).map_err(|refusal| self.refuse(name, &refusal))
            }
            _ => Ok(None),
        }
    }

    /// A field whose null means something: `None` where it is missing, `Some(None)` where it is null.
    ///
    /// # Errors
    /// `bad_params` where it is there and out of its range.
    pub fn nullable<T: Param>(&self, name: &str) -> Result<Option<Option<T>>, Error> {
        let asked = self.values.contains_key(name) || self.description.is_some();
        if asked { self.optional(name).map(Some) } else { Ok(None) }
    }

    /// A field that has to be there and may be null.
    ///
    /// # Errors
    /// `bad_params` where it is missing, or out of its range.
    pub fn required_or_null<T: Param>(&self, name: &str) -> Result<Option<T>, Error> {
        let value = self.nullable(name)?;
        if let Some(description) = self.description {
            let description = &mut *description.borrow_mut();
            description.properties[name]["type"] = json!([description.properties[name]["type"], "null"]);
            description.required.push(name.to_owned());
            return Ok(None);
        }
        value.ok_or_else(|| self.refuse(name, "is required; null is a value of it"))
    }

    /// Exactly one of `receiverId` and `groupId`.
    ///
    /// # Errors
    /// `bad_params` where neither or both are there, or the one is out of its range.
    pub fn target(&self) -> Result<Target, Error> {
        let target = self.optional_target()?;
        if let Some(description) = self.description {
            description.borrow_mut().exactly_one_of = vec!["receiverId", "groupId"];
            return Ok(Target::User(UserId(1)));
        }
        target.ok_or_else(|| self.refuse("receiverId", &format!("or {}groupId is required", self.prefix)))
    }

    /// One of `receiverId` and `groupId`, or neither.
    ///
    /// # Errors
    /// `bad_params` where both are there, or the one is out of its range.
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
    /// `bad_params` where it is there and out of its range.
    pub fn seq(&self, name: &str) -> Result<Option<Seq>, Error> {
        self.integer(name, 1, MAX_ID)
    }

    /// `limit` and `page` of a list.
    ///
    /// # Errors
    /// `bad_params` where one is out of its range.
    pub fn page(&self) -> Result<Page, Error> {
        let page = Page { limit: self.limit()?, page: self.integer("page", 1, MAX_ID)?.unwrap_or(1) };
        Ok(page)
    }

    /// `limit` and `page` or `before` of a history.
    ///
    /// # Errors
    /// `bad_params` where one is out of its range, or both are there.
    pub fn history_page(&self) -> Result<HistoryPage, Error> {
        let limit = self.limit()?;
        let start = match (self.integer("page", 1, MAX_ID)?, self.integer("before", 1, MAX_ID)?) {
            (Some(_), Some(_)) => return Err(self.refuse("before", "and page exclude each other")),
            (_, Some(before)) => Start::Before(before),
            (page, None) => Start::Page(page.unwrap_or(1)),
        };
        Ok(HistoryPage { limit, start })
    }

    /// A sentence about one field.
    #[must_use]
    pub fn refuse(&self, name: &str, refusal: &str) -> Error {
        Error::bad_params(format!("{}{name} {refusal}", self.prefix))
    }

    /// `limit`: rows of a page.
    ///
    /// # Errors
    /// `bad_params` where it is out of its range.
    pub fn limit(&self) -> Result<i64, Error> {
        let max = self.limits.max_page_rows;
        Ok(self.integer("limit", 1, max)?.unwrap_or(DEFAULT_LIMIT.min(max)))
    }

    fn integer(&self, name: &str, min: i64, max: i64) -> Result<Option<i64>, Error> {
        if let Some(description) = self.description {
            let mut schema = json!({ "type": "integer", "minimum": min });
            if max < MAX_ID {
                schema["maximum"] = json!(max);
            }
            description.borrow_mut().add(name, schema);
        }
        match self.values.get(name) {
            Some(value) if !is_null(*value) => {
                value.integer(min, max).map(Some).map_err(|refusal| self.refuse(name, &refusal))
            }
            _ => Ok(None),
        }
    }
}

/// The integer that a number with a fraction or an exponent stands for, such as `1.0` or `1e2`.
fn whole(raw: &RawValue) -> Option<i64> {
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
