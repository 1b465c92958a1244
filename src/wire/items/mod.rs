//! The items and rows of replies, pushes and HTTP answers, as JSON. A field that is always written and may
//! be null is `required` in its schema; one that may be left out has `skip_serializing_if`.

mod conversations;
mod groups;
mod messages;
mod notifications;
mod presence;
mod users;

pub use self::conversations::{
    BehindItem, ConversationDetails, ConversationItem, ConversationMember, MarkerItem, RemovedItem, SpamItem,
    TargetItem,
};
pub use self::groups::{GroupItem, MemberItem};
pub use self::messages::{MessageItem, ReactionChange, ReactionItem, ReceiptItem, ReplyTo};
pub use self::notifications::{NewMessageData, NotificationItem, ReadItem};
pub use self::presence::{OnlineInfo, TypingItem};
pub use self::users::{ListedPersonItem, PersonItem, UserItem};
