//! The table of what is pushed.

use crate::model::Topic;
use crate::wire::items::{
    BehindItem, GroupItem, MarkerItem, MemberItem, MessageItem, NotificationItem, OnlineInfo, ReactionChange, ReadItem,
    RemovedItem, SpamItem, TypingItem, UserItem,
};
use crate::wire::schema::NamedSchema;

/// Every push that is not a reply's: its type, the event of `subscribe` that a socket has to ask for,
/// and its `item`.
#[must_use]
pub fn pushes() -> Vec<(&'static str, Option<Topic>, NamedSchema)> {
    vec![
        ("privateMessage", None, NamedSchema::of::<MessageItem>()),
        ("messageInGroup", None, NamedSchema::of::<MessageItem>()),
        ("addUserInGroup", None, NamedSchema::of::<MemberItem>()),
        ("leaveGroup", None, NamedSchema::of::<MemberItem>()),
        ("behind", None, NamedSchema::of::<BehindItem>()),
        ("editMessage", Some(Topic::Messages), NamedSchema::of::<MessageItem>()),
        ("deleteMessage", Some(Topic::Messages), NamedSchema::of::<MessageItem>()),
        ("reactToMessage", Some(Topic::Messages), NamedSchema::of::<ReactionChange>()),
        ("readMessages", Some(Topic::Receipts), NamedSchema::of::<MarkerItem>()),
        ("deliveredMessages", Some(Topic::Receipts), NamedSchema::of::<MarkerItem>()),
        ("typing", Some(Topic::Typing), NamedSchema::of::<TypingItem>()),
        ("onlineInfo", Some(Topic::Presence), NamedSchema::of::<OnlineInfo>()),
        ("notification", Some(Topic::Notifications), NamedSchema::of::<NotificationItem>()),
        ("newGroup", Some(Topic::Own), NamedSchema::of::<GroupItem>()),
        ("removeConversation", Some(Topic::Own), NamedSchema::of::<RemovedItem>()),
        ("markSpam", Some(Topic::Own), NamedSchema::of::<SpamItem>()),
        ("removeUserFromGroup", Some(Topic::Groups), NamedSchema::of::<MemberItem>()),
        ("addGroupAdmin", Some(Topic::Groups), NamedSchema::of::<MemberItem>()),
        ("removeGroupAdmin", Some(Topic::Groups), NamedSchema::of::<MemberItem>()),
        ("renameGroup", Some(Topic::Groups), NamedSchema::of::<MemberItem>()),
        ("dropGroup", Some(Topic::Groups), NamedSchema::of::<GroupItem>()),
        ("addContact", Some(Topic::Contacts), NamedSchema::of::<UserItem>()),
        ("removeContact", Some(Topic::Own), NamedSchema::of::<UserItem>()),
        ("blockUser", Some(Topic::Own), NamedSchema::of::<UserItem>()),
        ("unblockUser", Some(Topic::Own), NamedSchema::of::<UserItem>()),
        ("readNotifications", Some(Topic::Own), NamedSchema::of::<ReadItem>()),
    ]
}
