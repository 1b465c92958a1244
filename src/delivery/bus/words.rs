//! What is said, as text: a line of JSON, then the frames that it counts, byte for byte. Frames are
//! encoded once, by the node that begins; the others put a header before the text and that is all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::typing::Typing;
use super::super::{Audience, Event, Message, MessagePlace, Push, WhenSlow, Where};
use super::NodeId;
use crate::model::{GroupId, Origin, SessionKey, Target, Topic, UserId};
use crate::wire::reply::Frame;

/// What a node says, without the frames that go with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Tell me who is there with you. The one who asks has just come, or has missed something; it says
    /// itself who is there with it.
    Hello {
        /// Of whom it is asked; `None` of all.
        to: Option<NodeId>,
    },
    /// I go.
    Bye,
    /// Who of a shard of users is there, and whether with the app in front: they and nobody else.
    People { shard: usize, here: Vec<(UserId, bool)> },
    /// How somebody is there now: not, or with the app in front or in the background. `settled` where
    /// they have turned to the app or from it, and no socket came or went.
    Here { user: UserId, active: Option<bool>, settled: bool },
    /// There is nothing more to tell of somebody.
    Forgotten(UserId),
    /// [`Event::Push`]; with the frame, and where it is a message, with its notification.
    Push {
        to: Audience,
        from: Option<Origin>,
        topic: Option<Topic>,
        when_slow: WhenSlow,
        place: Option<MessagePlace>,
        frames: Lengths,
    },
    /// [`Event::Typing`]; with the frame, and where it goes on, with the one of its end.
    Typing { user: UserId, conversation: Where, frames: Lengths },
    /// [`Event::Left`]
    Left { user: UserId, group: GroupId },
    /// [`Event::Muted`]
    Muted { user: UserId, target: Target, muted: bool },
    /// [`Event::SessionEnded`]
    SessionEnded { user: UserId, session: SessionKey },
    /// [`Event::SessionsEnded`]
    SessionsEnded { user: UserId, keep: Option<SessionKey> },
}

/// How many bytes of text each frame has.
type Lengths = Vec<usize>;

/// What was said.
#[derive(Debug)]
pub(super) enum Said {
    /// Something between nodes.
    Word(Word),
    /// Something for people.
    Event(Event),
}

/// A body that is not what this version of the bus says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Word {
    /// What there is to say of an event, and the frames that go with it.
    pub(super) fn of(event: &Event) -> (Self, Vec<&Frame>) {
        match event {
            Event::Push(push) => {
                let message = push.message.as_deref();
                let frames: Vec<&Frame> =
                    [&push.frame].into_iter().chain(message.map(|message| &message.notification)).collect();
                let word = Self::Push {
                    to: push.to.clone(),
                    from: push.from,
                    topic: push.topic,
                    when_slow: push.when_slow,
                    place: message.map(|message| message.place),
                    frames: lengths(&frames),
                };
                (word, frames)
            }
            Event::Typing(typing) => {
                let frames: Vec<&Frame> = [&typing.frame].into_iter().chain(&typing.ended).collect();
                let (user, conversation) = (typing.user, typing.conversation);
                (Self::Typing { user, conversation, frames: lengths(&frames) }, frames)
            }
            Event::Left { user, group } => (Self::Left { user: *user, group: *group }, Vec::new()),
            Event::Muted { user, target, muted } => {
                (Self::Muted { user: *user, target: *target, muted: *muted }, Vec::new())
            }
            Event::SessionEnded { user, session } => {
                (Self::SessionEnded { user: *user, session: *session }, Vec::new())
            }
            Event::SessionsEnded { user, keep } => (Self::SessionsEnded { user: *user, keep: *keep }, Vec::new()),
        }
    }

    /// As text.
    pub(super) fn write(&self, frames: &[&Frame]) -> String {
        let mut text = serde_json::to_string(self).expect("words have string keys and finite numbers");
        text.push('\n');
        text.extend(frames.iter().map(|frame| text_of(frame)));
        text
    }

    /// What a body says, in its order.
    pub(super) fn read(body: &str) -> Result<Vec<Said>, Unreadable> {
        let mut said = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let (line, behind) = rest.split_once('\n').ok_or(Unreadable)?;
            let word: Self = serde_json::from_str(line).map_err(|_| Unreadable)?;
            let mut frames = Vec::new();
            rest = behind;
            for length in word.lengths() {
                let text = rest.get(..*length).ok_or(Unreadable)?;
                frames.push(Frame::of_text(text));
                rest = &rest[*length..];
            }
            said.push(word.with(frames.into_iter()).ok_or(Unreadable)?);
        }
        Ok(said)
    }

    fn lengths(&self) -> &[usize] {
        match self {
            Self::Push { frames, .. } | Self::Typing { frames, .. } => frames,
            _ => &[],
        }
    }

    /// `None` where it has not the frames that it should.
    fn with(self, mut frames: impl Iterator<Item = Frame>) -> Option<Said> {
        Some(Said::Event(match self {
            Self::Push { to, from, topic, when_slow, place, .. } => {
                let frame = frames.next()?;
                let message = match place {
                    Some(place) => Some(Arc::new(Message { place, notification: frames.next()? })),
                    None => None,
                };
                Event::Push(Push { to, from, topic, frame, when_slow, message })
            }
            Self::Typing { user, conversation, .. } => {
                Event::Typing(Typing { user, conversation, frame: frames.next()?, ended: frames.next() })
            }
            Self::Left { user, group } => Event::Left { user, group },
            Self::Muted { user, target, muted } => Event::Muted { user, target, muted },
            Self::SessionEnded { user, session } => Event::SessionEnded { user, session },
            Self::SessionsEnded { user, keep } => Event::SessionsEnded { user, keep },
            word => return Some(Said::Word(word)),
        }))
    }
}

fn text_of(frame: &Frame) -> &str {
    frame.text().expect("what is pushed is text")
}

fn lengths(frames: &[&Frame]) -> Lengths {
    frames.iter().map(|frame| text_of(frame).len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Subject;
    use crate::model::{ConversationId, SessionId, SocketId};
    use proptest::prelude::*;

    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId((1 << 53) - 1);
    const DIALOG: Where = Where::Dialog(ANN, BOB);

    fn message(text: &str) -> Event {
        let place = MessagePlace { conversation: ConversationId(9), seq: 7, close_to_previous: true };
        Event::Push(Push {
            to: Audience::Users(Arc::from([ANN, BOB])),
            from: Some(Origin { user: ANN, socket: SocketId(u64::MAX) }),
            topic: None,
            frame: Frame::of_text(text),
            when_slow: WhenSlow::Behind(DIALOG, 7),
            message: Some(Arc::new(Message { place, notification: Frame::of_text("{}") })),
        })
    }

    /// One of each kind.
    fn events(text: &str) -> Vec<Event> {
        let frame = Frame::of_text(text);
        let audience = Audience::Acquaintances { of: ANN, contacts: Arc::from([BOB]), blocked: Arc::from([]) };
        let presence = Push {
            to: audience,
            from: None,
            topic: Some(Topic::Presence),
            frame: frame.clone(),
            when_slow: WhenSlow::Latest(Subject::Presence(ANN)),
            message: None,
        };
        let typing = |ended| Typing { user: ANN, conversation: Where::Group(GroupId(3)), frame: frame.clone(), ended };
        vec![
            message(text),
            Event::Push(presence),
            Event::Typing(typing(Some(frame.clone()))),
            Event::Typing(typing(None)),
            Event::Left { user: ANN, group: GroupId(3) },
            Event::Muted { user: ANN, target: Target::User(BOB), muted: true },
            Event::SessionEnded { user: ANN, session: SessionKey { id: SessionId(5), nonce: i64::MAX } },
            Event::SessionsEnded { user: ANN, keep: None },
        ]
    }

    fn write(event: &Event) -> String {
        let (word, frames) = Word::of(event);
        word.write(&frames)
    }

    proptest! {
        #[test]
        fn what_was_said_is_heard(text in any::<String>()) {
            let events = events(&text);
            let body: String = events.iter().map(write).collect();
            let said = Word::read(&body).expect("a body");
            prop_assert_eq!(said.len(), events.len());
            for (said, event) in said.iter().zip(&events) {
                let Said::Event(said) = said else { panic!("an event: {said:?}") };
                prop_assert_eq!(format!("{said:?}"), format!("{event:?}"));
            }
        }

        #[test]
        fn a_body_that_was_cut_never_panics(at in 0usize..4000, text in any::<String>()) {
            let body: String = events(&text).iter().map(write).collect();
            let _ = Word::read(&body[body.floor_char_boundary(at)..]);
            let _ = Word::read(&body[..body.floor_char_boundary(at)]);
            let _ = Word::read(&text);
        }
    }

    #[test]
    fn a_frame_short_is_unreadable() {
        let whole = write(&message("{}"));
        let one_less = whole.replace("[2,2]", "[4]");
        assert_ne!(whole, one_less);
        assert_eq!(Word::read(&one_less).err(), Some(Unreadable));
    }
}
