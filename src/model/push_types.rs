//! The types of pushes, each listed once: commands push by them, and the documents describe every one.

macro_rules! push_types {
    ($($(#[doc = $doc:literal])* $variant:ident => $name:literal,)*) => {
        /// The type of a push.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PushType {
            $($(#[doc = $doc])* $variant,)*
        }

        impl PushType {
            /// Every type, in the order of the reference.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The `type` on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

push_types! {
    /// A message in a dialog.
    PrivateMessage => "privateMessage",
    /// A message in a group.
    MessageInGroup => "messageInGroup",
    /// A user was added to a group.
    AddUserInGroup => "addUserInGroup",
    /// A member left a group.
    LeaveGroup => "leaveGroup",
    /// Pushes of a conversation were left out for a slow consumer.
    Behind => "behind",
    /// The content of a message was replaced.
    EditMessage => "editMessage",
    /// The content of a message was deleted.
    DeleteMessage => "deleteMessage",
    /// A reaction to a message was set or taken back.
    ReactToMessage => "reactToMessage",
    /// A read marker moved.
    ReadMessages => "readMessages",
    /// A delivery marker moved.
    DeliveredMessages => "deliveredMessages",
    /// A user is typing, or has stopped.
    Typing => "typing",
    /// The presence of a user changed.
    OnlineInfo => "onlineInfo",
    /// A notification, or one that goes with a message.
    Notification => "notification",
    /// The user created a group on another socket.
    NewGroup => "newGroup",
    /// The user removed a conversation on another socket.
    RemoveConversation => "removeConversation",
    /// The user marked a conversation as spam on another socket, or took the mark back.
    MarkSpam => "markSpam",
    /// An admin removed a member of a group.
    RemoveUserFromGroup => "removeUserFromGroup",
    /// A member of a group became an admin.
    AddGroupAdmin => "addGroupAdmin",
    /// An admin of a group became an ordinary member.
    RemoveGroupAdmin => "removeGroupAdmin",
    /// A group was renamed.
    RenameGroup => "renameGroup",
    /// A group was ended.
    DropGroup => "dropGroup",
    /// A user was added to a list of contacts.
    AddContact => "addContact",
    /// The user removed a contact on another socket.
    RemoveContact => "removeContact",
    /// The user blocked another user, on another socket.
    BlockUser => "blockUser",
    /// The user unblocked another user, on another socket.
    UnblockUser => "unblockUser",
    /// The user read notifications on another socket.
    ReadNotifications => "readNotifications",
}
