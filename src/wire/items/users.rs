//! Users as others see them.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{Timestamp, UserId};

/// A user, as other users see them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonItem {
    /// The user.
    #[schema(value_type = i64, example = 1)]
    pub id: UserId,
    /// First name, if the user gave one.
    #[schema(example = "Patrick", required)]
    pub first_name: Option<String>,
    /// Last name, if the user gave one.
    #[schema(example = "Star", required)]
    pub last_name: Option<String>,
    /// The name to sign in with; null for a user with an e-mail address alone.
    #[schema(example = "patrick", required)]
    pub username: Option<String>,
    /// Only in one's own item.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub email: Option<String>,
}

/// A user on one of one's lists: a contact, or a blocked user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedPersonItem {
    /// The user.
    #[serde(flatten)]
    pub person: PersonItem,
    /// When the user was added to the list.
    #[schema(value_type = String, format = DateTime)]
    pub added_at: Timestamp,
}

/// The user that a push is about.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserItem<'a> {
    /// The user.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// The current name.
    #[schema(value_type = String)]
    pub user_name: Cow<'a, str>,
}
