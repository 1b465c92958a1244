//! The ids and times of the model as columns: sqlx decodes each one as the type that it wraps, so that queries
//! return `UserId` and not `i64`.

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type, error::BoxDynError};

use crate::model::{ConversationId, GroupId, MessageId, NotificationId, Timestamp, UserId};

macro_rules! columns {
    ($($name:ident($inner:ty))*) => {$(
        impl Type<Postgres> for $name {
            fn type_info() -> PgTypeInfo {
                <$inner as Type<Postgres>>::type_info()
            }
        }

        impl<'r> Decode<'r, Postgres> for $name {
            fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
                <$inner as Decode<'r, Postgres>>::decode(value).map(Self)
            }
        }
    )*};
}

columns! { UserId(i64) GroupId(i64) ConversationId(i64) MessageId(i64) NotificationId(i64) Timestamp(DateTime<Utc>) }
