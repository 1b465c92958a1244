//! The table of pushes.

use crate::model::{ChangeKind, GroupEventKind, MessageEvent, ReceiptEvent, Topic};
use crate::wire::items::{
    BehindItem, GroupItem, MarkerItem, MemberItem, MessageItem, NotificationItem, OnlineInfo, ReactionChange, ReadItem,
    RemovedItem, SpamItem, TypingItem, UserItem,
};
use crate::wire::schema::NamedSchema;

/// Every frame that the server sends without a request: its type, the topic that a socket has to subscribe to, and the
/// schema of its `item`.
#[must_use]
pub fn pushes() -> Vec<(&'static str, Option<Topic>, NamedSchema)> {
    let message = |event: MessageEvent, topic, item| (event.frame_type(), topic, item);
    let group = |kind: GroupEventKind, item| (kind.frame_type(), kind.topic(), item);
    let receipt = |event: ReceiptEvent| (event.frame_type(), Some(Topic::Receipts), NamedSchema::of::<MarkerItem>());
    vec![
        message(MessageEvent::PrivateMessage, None, NamedSchema::of::<MessageItem>()),
        message(MessageEvent::MessageInGroup, None, NamedSchema::of::<MessageItem>()),
        group(GroupEventKind::MemberAdded, NamedSchema::of::<MemberItem>()),
        group(GroupEventKind::MemberLeft, NamedSchema::of::<MemberItem>()),
        ("behind", None, NamedSchema::of::<BehindItem>()),
        message(MessageEvent::EditMessage, Some(Topic::Messages), NamedSchema::of::<MessageItem>()),
        message(MessageEvent::DeleteMessage, Some(Topic::Messages), NamedSchema::of::<MessageItem>()),
        message(MessageEvent::ReactToMessage, Some(Topic::Messages), NamedSchema::of::<ReactionChange>()),
        receipt(ReceiptEvent::ReadMessages),
        receipt(ReceiptEvent::DeliveredMessages),
        ("typing", Some(Topic::Typing), NamedSchema::of::<TypingItem>()),
        ("onlineInfo", Some(Topic::Presence), NamedSchema::of::<OnlineInfo>()),
        ("notification", Some(Topic::Notifications), NamedSchema::of::<NotificationItem>()),
        ("newGroup", Some(Topic::Own), NamedSchema::of::<GroupItem>()),
        (ChangeKind::ConversationRemoved.frame_type(), Some(Topic::Own), NamedSchema::of::<RemovedItem>()),
        (ChangeKind::SpamMarked.frame_type(), Some(Topic::Own), NamedSchema::of::<SpamItem>()),
        group(GroupEventKind::MemberRemoved, NamedSchema::of::<MemberItem>()),
        group(GroupEventKind::AdminAdded, NamedSchema::of::<MemberItem>()),
        group(GroupEventKind::AdminRemoved, NamedSchema::of::<MemberItem>()),
        group(GroupEventKind::Renamed, NamedSchema::of::<MemberItem>()),
        group(GroupEventKind::Dropped, NamedSchema::of::<GroupItem>()),
        ("addContact", Some(Topic::Contacts), NamedSchema::of::<UserItem>()),
        ("removeContact", Some(Topic::Own), NamedSchema::of::<UserItem>()),
        ("blockUser", Some(Topic::Own), NamedSchema::of::<UserItem>()),
        ("unblockUser", Some(Topic::Own), NamedSchema::of::<UserItem>()),
        ("readNotifications", Some(Topic::Own), NamedSchema::of::<ReadItem>()),
    ]
}
