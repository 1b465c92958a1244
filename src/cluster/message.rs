//! The messages between nodes, as text: a line of JSON, then the frames whose lengths it lists, byte for byte.
//! Frames are encoded once, by the node that publishes; its peers only put a WebSocket header before the text.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::delivery::peers::NodeId;
use crate::delivery::{
    Audience, ConversationKey, Event, MessagePosition, OverflowPolicy, Push, PushedMessage, TypingEvent,
};
use crate::model::{GroupId, Origin, SessionKey, Target, Topic, UserId};
use crate::wire::reply::Frame;

/// A message of one node to its peers, without the frames that belong to it. A change needs a new version of the
/// payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ClusterMessage {
    /// Asks for snapshots of presence. The sender has just joined, or has detected a gap; its own snapshot follows.
    Hello {
        /// The node that is asked; `None` for all.
        to: Option<NodeId>,
    },
    /// The node leaves the cluster.
    Goodbye,
    /// Of one shard, the users who are connected to the node, and whether the app is in the foreground. No other
    /// user of the shard is connected to it.
    PresenceSnapshot { shard: usize, users: Vec<(UserId, bool)> },
    /// How a user is connected to the node; see [`Peers::publish_presence`](crate::delivery::peers::Peers).
    PresenceChanged { user: UserId, active: Option<bool>, is_activity_change: bool },
    /// No node announces the presence of a user any more.
    PresenceSuppressed(UserId),
    /// [`Event::Push`], with its frame, and the notification if it is a message.
    Push {
        to: Audience,
        from: Option<Origin>,
        topic: Option<Topic>,
        on_overflow: OverflowPolicy,
        position: Option<MessagePosition>,
        frames: FrameLengths,
    },
    /// [`Event::Typing`], with its frame, and the one that follows at the timeout if the user types.
    Typing { user: UserId, conversation: ConversationKey, frames: FrameLengths },
    /// [`Event::MemberRemoved`]
    MemberRemoved { user: UserId, group: GroupId },
    /// [`Event::MuteChanged`]
    MuteChanged { user: UserId, target: Target, muted: bool },
    /// [`Event::SessionEnded`]
    SessionEnded { user: UserId, session: SessionKey },
    /// [`Event::SessionsEnded`]
    SessionsEnded { user: UserId, keep: Option<SessionKey> },
}

/// How many bytes of text each frame has.
type FrameLengths = Vec<usize>;

/// A decoded message.
#[derive(Debug)]
pub(super) enum Decoded {
    /// For the node itself.
    Message(ClusterMessage),
    /// For the sockets of the node.
    Event(Event),
}

/// The body of a batch is not what this version sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DecodeError;

impl ClusterMessage {
    /// The message that carries an event, and the frames that belong to it.
    pub(super) fn of_event(event: &Event) -> (Self, Vec<&Frame>) {
        match event {
            Event::Push(push) => {
                let message = push.message.as_deref();
                let frames: Vec<&Frame> =
                    [&push.frame].into_iter().chain(message.map(|message| &message.notification)).collect();
                let message = Self::Push {
                    to: push.to.clone(),
                    from: push.from,
                    topic: push.topic,
                    on_overflow: push.on_overflow,
                    position: message.map(|message| message.position),
                    frames: lengths(&frames),
                };
                (message, frames)
            }
            Event::Typing(typing) => {
                let frames: Vec<&Frame> = [&typing.frame].into_iter().chain(&typing.timeout_frame).collect();
                let (user, conversation) = (typing.user, typing.conversation);
                (Self::Typing { user, conversation, frames: lengths(&frames) }, frames)
            }
            Event::MemberRemoved { user, group } => (Self::MemberRemoved { user: *user, group: *group }, Vec::new()),
            Event::MuteChanged { user, target, muted } => {
                (Self::MuteChanged { user: *user, target: *target, muted: *muted }, Vec::new())
            }
            Event::SessionEnded { user, session } => {
                (Self::SessionEnded { user: *user, session: *session }, Vec::new())
            }
            Event::SessionsEnded { user, keep } => (Self::SessionsEnded { user: *user, keep: *keep }, Vec::new()),
        }
    }

    /// The message as text, with its frames.
    pub(super) fn encode(&self, frames: &[&Frame]) -> String {
        let mut text = serde_json::to_string(self).expect("messages have string keys and finite numbers");
        text.push('\n');
        text.extend(frames.iter().map(|frame| text_of(frame)));
        text
    }

    /// The messages in the body of a batch, in their order.
    pub(super) fn decode(body: &str) -> Result<Vec<Decoded>, DecodeError> {
        let mut messages = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let (line, remaining) = rest.split_once('\n').ok_or(DecodeError)?;
            let message: Self = serde_json::from_str(line).map_err(|_| DecodeError)?;
            let mut frames = Vec::new();
            rest = remaining;
            for length in message.frame_lengths() {
                let text = rest.get(..*length).ok_or(DecodeError)?;
                frames.push(Frame::of_text(text));
                rest = &rest[*length..];
            }
            messages.push(message.with_frames(frames.into_iter()).ok_or(DecodeError)?);
        }
        Ok(messages)
    }

    fn frame_lengths(&self) -> &[usize] {
        match self {
            Self::Push { frames, .. } | Self::Typing { frames, .. } => frames,
            _ => &[],
        }
    }

    /// `None` if a frame is missing.
    fn with_frames(self, mut frames: impl Iterator<Item = Frame>) -> Option<Decoded> {
        Some(Decoded::Event(match self {
            Self::Push { to, from, topic, on_overflow, position, .. } => {
                let frame = frames.next()?;
                let message = match position {
                    Some(position) => Some(Arc::new(PushedMessage { position, notification: frames.next()? })),
                    None => None,
                };
                Event::Push(Push { to, from, topic, frame, on_overflow, message })
            }
            Self::Typing { user, conversation, .. } => {
                let (frame, timeout_frame) = (frames.next()?, frames.next());
                Event::Typing(TypingEvent { user, conversation, frame, timeout_frame })
            }
            Self::MemberRemoved { user, group } => Event::MemberRemoved { user, group },
            Self::MuteChanged { user, target, muted } => Event::MuteChanged { user, target, muted },
            Self::SessionEnded { user, session } => Event::SessionEnded { user, session },
            Self::SessionsEnded { user, keep } => Event::SessionsEnded { user, keep },
            message => return Some(Decoded::Message(message)),
        }))
    }
}

fn text_of(frame: &Frame) -> &str {
    frame.text().expect("what is pushed is text")
}

fn lengths(frames: &[&Frame]) -> FrameLengths {
    frames.iter().map(|frame| text_of(frame).len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::CoalesceKey;
    use crate::model::{ConversationId, SessionId, SocketId};
    use proptest::prelude::*;

    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId((1 << 53) - 1);
    const DIALOG: ConversationKey = ConversationKey::Dialog(ANN, BOB);

    fn message(text: &str) -> Event {
        let position = MessagePosition { conversation: ConversationId(9), seq: 7, follows_recent: true };
        Event::Push(Push {
            to: Audience::Users(Arc::from([ANN, BOB])),
            from: Some(Origin { user: ANN, socket: SocketId(u64::MAX) }),
            topic: None,
            frame: Frame::of_text(text),
            on_overflow: OverflowPolicy::MarkBehind(DIALOG, 7),
            message: Some(Arc::new(PushedMessage { position, notification: Frame::of_text("{}") })),
        })
    }

    /// One of each kind.
    fn events(text: &str) -> Vec<Event> {
        let frame = Frame::of_text(text);
        let audience = Audience::PresenceWatchers { of: ANN, contacts: Arc::from([BOB]), blocked: Arc::from([]) };
        let presence = Push {
            to: audience,
            from: None,
            topic: Some(Topic::Presence),
            frame: frame.clone(),
            on_overflow: OverflowPolicy::KeepLatest(CoalesceKey::Presence(ANN)),
            message: None,
        };
        let typing = |timeout_frame| TypingEvent {
            user: ANN,
            conversation: ConversationKey::Group(GroupId(3)),
            frame: frame.clone(),
            timeout_frame,
        };
        vec![
            message(text),
            Event::Push(presence),
            Event::Typing(typing(Some(frame.clone()))),
            Event::Typing(typing(None)),
            Event::MemberRemoved { user: ANN, group: GroupId(3) },
            Event::MuteChanged { user: ANN, target: Target::User(BOB), muted: true },
            Event::SessionEnded { user: ANN, session: SessionKey { id: SessionId(5), nonce: i64::MAX } },
            Event::SessionsEnded { user: ANN, keep: None },
        ]
    }

    fn encode(event: &Event) -> String {
        let (message, frames) = ClusterMessage::of_event(event);
        message.encode(&frames)
    }

    proptest! {
        #[test]
        fn encoded_events_decode_to_themselves(text in any::<String>()) {
            let events = events(&text);
            let body: String = events.iter().map(encode).collect();
            let decoded = ClusterMessage::decode(&body).expect("a body");
            prop_assert_eq!(decoded.len(), events.len());
            for (decoded, event) in decoded.iter().zip(&events) {
                let Decoded::Event(decoded) = decoded else { panic!("an event: {decoded:?}") };
                prop_assert_eq!(format!("{decoded:?}"), format!("{event:?}"));
            }
        }

        #[test]
        fn a_truncated_body_never_panics(at in 0usize..4000, text in any::<String>()) {
            let body: String = events(&text).iter().map(encode).collect();
            let _ = ClusterMessage::decode(&body[body.floor_char_boundary(at)..]);
            let _ = ClusterMessage::decode(&body[..body.floor_char_boundary(at)]);
            let _ = ClusterMessage::decode(&text);
        }
    }

    #[test]
    fn a_missing_frame_is_a_decode_error() {
        let whole = encode(&message("{}"));
        let one_less = whole.replace("[2,2]", "[4]");
        assert_ne!(whole, one_less);
        assert_eq!(ClusterMessage::decode(&one_less).err(), Some(DecodeError));
    }
}
