//! The table of pushes: for each type, the topic that a socket has to subscribe to, and the schema of its `item`.

use crate::model::{PushType, Topic};
use crate::wire::items::{
    BehindItem, GroupItem, MarkerItem, MemberItem, MessageItem, NotificationItem, OnlineInfo, ReactionChange, ReadItem,
    RemovedItem, SpamItem, TypingItem, UserItem,
};
use crate::wire::schema::NamedSchema;

/// Every push, in the order of the reference.
#[must_use]
pub fn pushes() -> Vec<(&'static str, Option<Topic>, NamedSchema)> {
    PushType::ALL.iter().map(|push_type| (push_type.name(), topic(*push_type), item(*push_type))).collect()
}

/// The topic; `None` for the pushes that every client gets. `Own` stands for pushes to the other sockets of the user
/// who caused them.
const fn topic(push_type: PushType) -> Option<Topic> {
    match push_type {
        PushType::PrivateMessage
        | PushType::MessageInGroup
        | PushType::AddUserInGroup
        | PushType::LeaveGroup
        | PushType::Behind => None,
        PushType::EditMessage | PushType::DeleteMessage | PushType::ReactToMessage => Some(Topic::Messages),
        PushType::ReadMessages | PushType::DeliveredMessages => Some(Topic::Receipts),
        PushType::Typing => Some(Topic::Typing),
        PushType::OnlineInfo => Some(Topic::Presence),
        PushType::Notification => Some(Topic::Notifications),
        PushType::NewGroup
        | PushType::RemoveConversation
        | PushType::MarkSpam
        | PushType::RemoveContact
        | PushType::BlockUser
        | PushType::UnblockUser
        | PushType::ReadNotifications => Some(Topic::Own),
        PushType::RemoveUserFromGroup
        | PushType::AddGroupAdmin
        | PushType::RemoveGroupAdmin
        | PushType::RenameGroup
        | PushType::DropGroup => Some(Topic::Groups),
        PushType::AddContact => Some(Topic::Contacts),
    }
}

fn item(push_type: PushType) -> NamedSchema {
    match push_type {
        PushType::PrivateMessage | PushType::MessageInGroup | PushType::EditMessage | PushType::DeleteMessage => {
            NamedSchema::of::<MessageItem>()
        }
        PushType::AddUserInGroup
        | PushType::LeaveGroup
        | PushType::RemoveUserFromGroup
        | PushType::AddGroupAdmin
        | PushType::RemoveGroupAdmin
        | PushType::RenameGroup => NamedSchema::of::<MemberItem>(),
        PushType::Behind => NamedSchema::of::<BehindItem>(),
        PushType::ReactToMessage => NamedSchema::of::<ReactionChange>(),
        PushType::ReadMessages | PushType::DeliveredMessages => NamedSchema::of::<MarkerItem>(),
        PushType::Typing => NamedSchema::of::<TypingItem>(),
        PushType::OnlineInfo => NamedSchema::of::<OnlineInfo>(),
        PushType::Notification => NamedSchema::of::<NotificationItem>(),
        PushType::NewGroup | PushType::DropGroup => NamedSchema::of::<GroupItem>(),
        PushType::RemoveConversation => NamedSchema::of::<RemovedItem>(),
        PushType::MarkSpam => NamedSchema::of::<SpamItem>(),
        PushType::AddContact | PushType::RemoveContact | PushType::BlockUser | PushType::UnblockUser => {
            NamedSchema::of::<UserItem>()
        }
        PushType::ReadNotifications => NamedSchema::of::<ReadItem>(),
    }
}
