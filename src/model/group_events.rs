//! The kinds of group events: what the table `group_events` stores, what is pushed to the members, and what `sync`
//! reports to those who were offline.

use super::{PushType, Topic};

/// What happened to a group, or to a member of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupEventKind {
    /// A user was added, when the group was created or later.
    MemberAdded,
    /// A member left.
    MemberLeft,
    /// An admin removed a member.
    MemberRemoved,
    /// A member became an admin.
    AdminAdded,
    /// An admin became an ordinary member.
    AdminRemoved,
    /// The group got another name.
    Renamed,
    /// An admin ended the group.
    Dropped,
}

impl GroupEventKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::MemberAdded,
        Self::MemberLeft,
        Self::MemberRemoved,
        Self::AdminAdded,
        Self::AdminRemoved,
        Self::Renamed,
        Self::Dropped,
    ];

    /// The type of its push.
    #[must_use]
    pub const fn push_type(self) -> PushType {
        match self {
            Self::MemberAdded => PushType::AddUserInGroup,
            Self::MemberLeft => PushType::LeaveGroup,
            Self::MemberRemoved => PushType::RemoveUserFromGroup,
            Self::AdminAdded => PushType::AddGroupAdmin,
            Self::AdminRemoved => PushType::RemoveGroupAdmin,
            Self::Renamed => PushType::RenameGroup,
            Self::Dropped => PushType::DropGroup,
        }
    }

    /// The type of the frame that causes the event and of its push; the database stores it too.
    #[must_use]
    pub const fn frame_type(self) -> &'static str {
        self.push_type().name()
    }

    /// The kind of a frame type; `None` if it is not one of a group event.
    #[must_use]
    pub fn from_frame_type(frame_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.frame_type() == frame_type)
    }

    /// The topic that a socket has to subscribe to for the push; `None` for the two that every client knows.
    #[must_use]
    pub const fn topic(self) -> Option<Topic> {
        match self {
            Self::MemberAdded | Self::MemberLeft => None,
            Self::MemberRemoved | Self::AdminAdded | Self::AdminRemoved | Self::Renamed | Self::Dropped => {
                Some(Topic::Groups)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_type_is_read_back() {
        for kind in GroupEventKind::ALL {
            assert_eq!(GroupEventKind::from_frame_type(kind.frame_type()), Some(kind));
        }
        assert_eq!(GroupEventKind::from_frame_type("newGroup"), None);
    }
}
