//! The final state: what the server returns in the end, when no client writes any more.

use std::time::Duration;

use hark_harness::accounts::Account;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::clients::connection::{ConnectTarget, Connection};
use crate::clients::shared::SharedState;
use crate::history::event::{Change, ChatListRow, Conversation, Event, Member, Message};
use crate::history::recorder::Recorder;

/// How long a request is repeated before the final state counts as unknown.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);
/// Rows of a page.
const PAGE_SIZE: usize = 100;
/// The number of each user's cursors that are used, the first and the last among them.
const MAX_CURSORS: usize = 10;

/// Records the final state of every user.
pub(crate) async fn record_all(shared: &SharedState, recorder: &Recorder) {
    for account in &shared.accounts {
        let mut reader = Reader { shared, account, connection: None };
        if let Err(reason) = reader.record(recorder).await {
            recorder.note(Event::Unknown { user: account.id, reason });
        }
        if let Some(connection) = reader.connection {
            connection.close().await;
        }
    }
}

/// Records the changes since cursors of a lost history.
pub(crate) async fn record_changes(shared: &SharedState, account: &Account, cursors: &[String], recorder: &Recorder) {
    let (mut reader, user) = (Reader { shared, account, connection: None }, account.id);
    for cursor in sample(cursors.to_vec()) {
        match reader.changes_since(&cursor).await {
            Ok((complete, changes)) => recorder.note(Event::Synced { user, cursor, complete, changes }),
            Err(reason) => recorder.note(Event::Unknown { user, reason }),
        }
    }
    if let Some(connection) = reader.connection {
        connection.close().await;
    }
}

/// Reads the final state of one user.
struct Reader<'a> {
    shared: &'a SharedState,
    account: &'a Account,
    connection: Option<Connection>,
}

impl Reader<'_> {
    async fn record(&mut self, recorder: &Recorder) -> Result<(), String> {
        let user = self.account.id;
        let chats = self.chats().await?;
        let conversations: Vec<Conversation> = chats.iter().map(|chat| chat.conversation).collect();
        recorder.note(Event::ChatList { user, rows: chats });
        for conversation in conversations {
            let rows = self.history(conversation).await?;
            recorder.note(Event::History { user, conversation, rows });
            let rows = self.members(conversation).await?;
            recorder.note(Event::Members { user, conversation, rows });
        }
        for cursor in sample(self.shared.cursors(user)) {
            let (complete, changes) = self.changes_since(&cursor).await?;
            recorder.note(Event::Synced { user, cursor, complete, changes });
        }
        Ok(())
    }

    async fn chats(&mut self) -> Result<Vec<ChatListRow>, String> {
        let mut chats = Vec::new();
        for page in 1.. {
            let reply = self.call("listConversations", &json!({ "limit": PAGE_SIZE, "page": page })).await?;
            let rows = rows(&reply)?;
            for row in rows {
                chats.push(chat(self.account.id, row).ok_or_else(|| format!("invalid row of the chat list: {row}"))?);
            }
            if rows.len() < PAGE_SIZE {
                break;
            }
        }
        Ok(chats)
    }

    /// The whole message history, the oldest message first.
    async fn history(&mut self, conversation: Conversation) -> Result<Vec<Message>, String> {
        let group = matches!(conversation, Conversation::Group(_));
        let frame_type = if group { "getlatestMessageGroup" } else { "getlatestMessageDialog" };
        let mut params = conversation.target(self.account.id);
        params["limit"] = json!(PAGE_SIZE);
        let mut history = Vec::new();
        loop {
            let reply = self.call(frame_type, &params).await?;
            let rows = rows(&reply)?;
            for row in rows {
                history.push(Message::parse(row).ok_or_else(|| format!("invalid row of a history: {row}"))?);
            }
            match history.last() {
                Some(oldest) if !rows.is_empty() && oldest.seq > 1 => params["before"] = json!(oldest.seq),
                _ => break,
            }
        }
        history.reverse();
        Ok(history)
    }

    async fn members(&mut self, conversation: Conversation) -> Result<Vec<Member>, String> {
        let reply = self.call("getConversation", &conversation.target(self.account.id)).await?;
        let members = reply["params"]["item"]["members"].as_array().ok_or_else(|| format!("no members: {reply}"))?;
        let member = |row: &Value| {
            let number = |name: &str| row[name].as_i64().ok_or_else(|| format!("invalid member: {row}"));
            let (user, read_seq) = (number("id")?, number("readSeq")?);
            Ok(Member { user, read_seq, delivered_seq: number("deliveredSeq")? })
        };
        members.iter().map(member).collect()
    }

    async fn changes_since(&mut self, cursor: &str) -> Result<(bool, Vec<Change>), String> {
        let (mut cursor, mut complete, mut changes) = (cursor.to_owned(), true, Vec::new());
        loop {
            let reply = self.call("sync", &json!({ "cursor": cursor, "limit": PAGE_SIZE })).await?;
            changes.extend(Change::parse_all(self.account.id, &reply)?);
            let item = &reply["params"]["item"];
            complete &= item["complete"] == true;
            let next = item["cursor"].as_str().ok_or_else(|| format!("no cursor: {reply}"))?;
            next.clone_into(&mut cursor);
            if item["more"] != true {
                return Ok((complete, changes));
            }
        }
    }

    /// Sends a request until it succeeds.
    async fn call(&mut self, frame_type: &str, params: &Value) -> Result<Value, String> {
        let deadline = Instant::now() + REPLY_TIMEOUT;
        let mut last = format!("{frame_type} {params} is not answered");
        while Instant::now() < deadline {
            if self.connection.is_none() {
                let target = ConnectTarget {
                    servers: &self.shared.servers,
                    server: 0,
                    user: self.account.id,
                    token: &self.account.token,
                };
                self.connection = Connection::open(target, None).await.ok();
            }
            match &mut self.connection {
                Some(connection) => match connection.call(frame_type, params, REPLY_TIMEOUT).await {
                    Some(reply) if reply["success"] == true => return Ok(reply),
                    Some(refusal) => {
                        last = format!("{frame_type} {params} is answered {refusal}");
                        let wait = refusal["retryAfterMs"].as_u64().unwrap_or(200);
                        sleep(Duration::from_millis(wait)).await;
                    }
                    None => self.connection = None,
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

fn chat(user: i64, row: &Value) -> Option<ChatListRow> {
    Some(ChatListRow {
        conversation: Conversation::from_target(user, row)?,
        last_seq: row["lastSeq"].as_i64()?,
        read_seq: row["readSeq"].as_i64()?,
        unread: row["unreadCount"].as_i64()?,
    })
}

/// At most [`MAX_CURSORS`] of the cursors, evenly spaced, with the first and the last.
fn sample(cursors: Vec<String>) -> Vec<String> {
    if cursors.len() <= MAX_CURSORS {
        return cursors;
    }
    (0..MAX_CURSORS).map(|nth| cursors[nth * (cursors.len() - 1) / (MAX_CURSORS - 1)].clone()).collect()
}
