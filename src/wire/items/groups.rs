//! Groups and changes of their members.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{GroupId, UserId};

/// A group with its name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupItem<'a> {
    /// The id by which requests name it.
    #[schema(value_type = i64)]
    pub group_id: GroupId,
    /// The current name.
    #[schema(value_type = String)]
    pub group_name: Cow<'a, str>,
}

/// The member of a group that a change is about; after a removal, a former member.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberItem<'a> {
    /// The group.
    #[schema(value_type = i64)]
    pub group_id: GroupId,
    /// The name of the group.
    #[schema(value_type = String)]
    pub group_name: Cow<'a, str>,
    /// The member.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// The member's current name.
    #[schema(value_type = String)]
    pub user_name: Cow<'a, str>,
}
