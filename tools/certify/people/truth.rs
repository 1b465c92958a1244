//! What the server says in the end, when nobody writes any more.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::link::{Link, Opening};
use super::world::World;
use crate::accounts::Account;
use crate::certify::record::{Change, Chat, Member, Message, Place, Seen};
use crate::certify::recorder::Recorder;

/// How long one question may go unanswered before the truth is called untold.
const TELLS_WITHIN: Duration = Duration::from_mins(1);
/// Rows of a page.
const PAGE: usize = 100;
/// So many of a person's cursors are tried in the end, the first and the last among them.
const CURSORS: usize = 10;

/// Asks everybody's truth.
pub(crate) async fn ask_all(world: &World, recorder: &Recorder) {
    for person in &world.people {
        let mut witness = Witness { world, person, link: None };
        if let Err(what) = witness.tell(recorder).await {
            recorder.note(Seen::Untold { user: person.id, what });
        }
        if let Some(link) = witness.link {
            link.close().await;
        }
    }
}

/// Asks what came after cursors that somebody holds of a history that was lost.
pub(crate) async fn ask_since(world: &World, person: &Account, cursors: &[String], recorder: &Recorder) {
    let (mut witness, user) = (Witness { world, person, link: None }, person.id);
    for cursor in spread(cursors.to_vec()) {
        match witness.since(&cursor).await {
            Ok((complete, changes)) => recorder.note(Seen::Synced { user, cursor, complete, changes }),
            Err(what) => recorder.note(Seen::Untold { user, what }),
        }
    }
    if let Some(link) = witness.link {
        link.close().await;
    }
}

struct Witness<'a> {
    world: &'a World,
    person: &'a Account,
    link: Option<Link>,
}

impl Witness<'_> {
    async fn tell(&mut self, recorder: &Recorder) -> Result<(), String> {
        let user = self.person.id;
        let chats = self.chats().await?;
        let places: Vec<Place> = chats.iter().map(|chat| chat.place).collect();
        recorder.note(Seen::Chats { user, rows: chats });
        for place in places {
            let rows = self.history(place).await?;
            recorder.note(Seen::History { user, place, rows });
            let rows = self.members(place).await?;
            recorder.note(Seen::Members { user, place, rows });
        }
        for cursor in spread(self.world.cursors(user)) {
            let (complete, changes) = self.since(&cursor).await?;
            recorder.note(Seen::Synced { user, cursor, complete, changes });
        }
        Ok(())
    }

    async fn chats(&mut self) -> Result<Vec<Chat>, String> {
        let mut chats = Vec::new();
        for page in 1.. {
            let reply = self.ask("listConversations", &json!({ "limit": PAGE, "page": page })).await?;
            let rows = rows(&reply)?;
            for row in rows {
                chats.push(chat(self.person.id, row).ok_or_else(|| format!("no row of a list: {row}"))?);
            }
            if rows.len() < PAGE {
                break;
            }
        }
        Ok(chats)
    }

    /// All of it, the oldest first.
    async fn history(&mut self, place: Place) -> Result<Vec<Message>, String> {
        let group = matches!(place, Place::Group(_));
        let kind = if group { "getlatestMessageGroup" } else { "getlatestMessageDialog" };
        let mut params = place.target(self.person.id);
        params["limit"] = json!(PAGE);
        let mut history = Vec::new();
        loop {
            let reply = self.ask(kind, &params).await?;
            let rows = rows(&reply)?;
            for row in rows {
                history.push(Message::read(row).ok_or_else(|| format!("no row of a history: {row}"))?);
            }
            match history.last() {
                Some(oldest) if !rows.is_empty() && oldest.seq > 1 => params["before"] = json!(oldest.seq),
                _ => break,
            }
        }
        history.reverse();
        Ok(history)
    }

    async fn members(&mut self, place: Place) -> Result<Vec<Member>, String> {
        let reply = self.ask("getConversation", &place.target(self.person.id)).await?;
        let members = reply["params"]["item"]["members"].as_array().ok_or_else(|| format!("no members: {reply}"))?;
        let member = |row: &Value| {
            let number = |name: &str| row[name].as_i64().ok_or_else(|| format!("no member: {row}"));
            let (user, read_seq) = (number("id")?, number("readSeq")?);
            Ok(Member { user, read_seq, delivered_seq: number("deliveredSeq")? })
        };
        members.iter().map(member).collect()
    }

    async fn since(&mut self, cursor: &str) -> Result<(bool, Vec<Change>), String> {
        let (mut cursor, mut complete, mut changes) = (cursor.to_owned(), true, Vec::new());
        loop {
            let reply = self.ask("sync", &json!({ "cursor": cursor, "limit": PAGE })).await?;
            changes.extend(Change::read_all(self.person.id, &reply)?);
            let item = &reply["params"]["item"];
            complete &= item["complete"] == true;
            let next = item["cursor"].as_str().ok_or_else(|| format!("no cursor: {reply}"))?;
            next.clone_into(&mut cursor);
            if item["more"] != true {
                return Ok((complete, changes));
            }
        }
    }

    /// The reply to a question, asked until there is one.
    async fn ask(&mut self, kind: &str, params: &Value) -> Result<Value, String> {
        let deadline = Instant::now() + TELLS_WITHIN;
        let mut last = format!("{kind} {params} is not answered");
        while Instant::now() < deadline {
            if self.link.is_none() {
                let opening = Opening {
                    servers: &self.world.servers,
                    server: 0,
                    user: self.person.id,
                    token: &self.person.token,
                };
                self.link = Link::open(opening, None).await.ok();
            }
            match &mut self.link {
                Some(link) => match link.call(kind, params, TELLS_WITHIN).await {
                    Some(reply) if reply["success"] == true => return Ok(reply),
                    Some(refusal) => {
                        last = format!("{kind} {params} is answered {refusal}");
                        let wait = refusal["retryAfterMs"].as_u64().unwrap_or(200);
                        sleep(Duration::from_millis(wait)).await;
                    }
                    None => self.link = None,
                },
                None => sleep(Duration::from_millis(200)).await,
            }
        }
        Err(last)
    }
}

fn rows(reply: &Value) -> Result<&Vec<Value>, String> {
    reply["params"]["data"].as_array().ok_or_else(|| format!("no rows: {reply}"))
}

fn chat(user: i64, row: &Value) -> Option<Chat> {
    Some(Chat {
        place: Place::of_target(user, row)?,
        last_seq: row["lastSeq"].as_i64()?,
        read_seq: row["readSeq"].as_i64()?,
        unread: row["unreadCount"].as_i64()?,
    })
}

/// The first, the last, and as many between them, evenly.
fn spread(cursors: Vec<String>) -> Vec<String> {
    if cursors.len() <= CURSORS {
        return cursors;
    }
    (0..CURSORS).map(|nth| cursors[nth * (cursors.len() - 1) / (CURSORS - 1)].clone()).collect()
}
