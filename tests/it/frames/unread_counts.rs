//! `unreadCount` always equals a count over the rows.

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer};

/// Counts the unread messages of these users over the rows, by conversation and user.
async fn counted(server: &TestServer, clients: &[(i64, Client)]) -> Vec<(i64, i64, i64)> {
    let rows = sqlx::query(
        "select m.conversation_id, m.user_id, count(x.seq)
         from members m
         left join messages x on x.conversation_id = m.conversation_id and x.sender_id <> m.user_id
                             and x.seq > m.read_seq and x.seq > m.cleared_seq
         where m.user_id = any($1)
         group by 1, 2 order by 1, 2",
    );
    let users: Vec<i64> = clients.iter().map(|(user, _)| *user).collect();
    let rows = rows.bind(users).fetch_all(&mut server.sql().await).await.expect("rows");
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Returns the unread counts that the server gives, also in lists.
async fn reported(server: &TestServer, clients: &mut [(i64, Client)]) -> Vec<(i64, i64, i64)> {
    let mut reported = Vec::new();
    for (user, client) in clients {
        let rows = sqlx::query("select conversation_id, peer_id from members where user_id = $1");
        let rows = rows.bind(*user).fetch_all(&mut server.sql().await).await.expect("rows");
        let list = client.call_ok("listConversations", json!({ "limit": 100 })).await["data"].take();
        for row in rows {
            let (conversation, peer): (i64, Option<i64>) = (row.get(0), row.get(1));
            let target = peer.map_or(json!({ "groupId": conversation }), |peer| json!({ "receiverId": peer }));
            let count = unread(client, &target).await;
            let mut listed = list.as_array().expect("rows").iter();
            let listed =
                listed.find(|row| row["receiverId"] == target["receiverId"] && row["groupId"] == target["groupId"]);
            assert!(listed.is_none_or(|row| row["unreadCount"] == count), "{count}, but {listed:?}");
            reported.push((conversation, *user, count));
        }
    }
    reported.sort_unstable();
    reported
}

async fn assert_counts_match(server: &TestServer, clients: &mut [(i64, Client)]) {
    assert_eq!(reported(server, clients).await, counted(server, clients).await);
}

async fn unread(client: &mut Client, target: &Value) -> i64 {
    let details = client.call_ok("getConversation", target.clone()).await;
    details["item"]["unreadCount"].as_i64().expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_count_includes_deleted_and_edited_messages_and_no_own_ones() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (to_bob, to_ann) = (json!({ "receiverId": bob.id }), json!({ "receiverId": ann.id }));
    let first = ann_client.send_content(&to_bob, "1").await;
    let second = ann_client.send_content(&to_bob, "2").await;
    bob_client.send_content(&to_ann, "3").await;
    ann_client.send_content(&to_bob, "4").await;
    ann_client.call_ok("deleteMessage", json!({ "messageId": first })).await;
    ann_client.call_ok("editMessage", json!({ "messageId": second, "content": "two" })).await;
    assert_eq!(unread(&mut bob_client, &to_ann).await, 3);
    assert_eq!(unread(&mut ann_client, &to_bob).await, 1);
    bob_client.call_ok("readMessages", json!({ "receiverId": ann.id, "seq": 1 })).await;
    assert_eq!(unread(&mut bob_client, &to_ann).await, 2);
    let list = bob_client.call_ok("listLastMessage", json!({})).await;
    assert_eq!(list["data"][0]["unreadCount"], 2);
    let list = bob_client.call_ok("listConversations", json!({})).await;
    assert_eq!((&list["data"][0]["unreadCount"], &list["data"][0]["readSeq"]), (&json!(2), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_count_of_a_returning_member_is_zero() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let group = ann_client.new_group(&[bob.id]).await;
    let target = json!({ "groupId": group });
    bob_client.send_content(&target, "mine").await;
    ann_client.send_content(&target, "hers").await;
    assert_eq!(unread(&mut bob_client, &target).await, 1);
    bob_client.call_ok("leaveGroup", target.clone()).await;
    ann_client.send_content(&target, "alone").await;
    ann_client.call_ok("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    assert_eq!(unread(&mut bob_client, &target).await, 0);
    bob_client.send_content(&target, "back").await;
    ann_client.send_content(&target, "good").await;
    assert_eq!(unread(&mut bob_client, &target).await, 1);
    bob_client.call_ok("readMessages", json!({ "groupId": group, "seq": 1 })).await;
    assert_eq!(unread(&mut bob_client, &target).await, 1);
    bob_client.call_ok("readMessages", json!({ "groupId": group, "seq": 4 })).await;
    assert_eq!(unread(&mut bob_client, &target).await, 1);
    let mut clients = [(ann.id, ann_client), (bob.id, bob_client)];
    assert_counts_match(&server, &mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_count_stays_exact_with_sends_and_reads_at_once() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, ann_client) = server.connect_user("Ann").await;
    let (bob, bob_client) = server.connect_user("Bob").await;
    let (to_bob, to_ann) = (json!({ "receiverId": bob.id }), json!({ "receiverId": ann.id }));
    let (ann_there, bob_there) = (second.connect(&ann).await, second.connect(&bob).await);
    let sockets =
        [(ann_client, to_bob.clone()), (bob_client, to_ann.clone()), (ann_there, to_bob), (bob_there, to_ann)];
    let busy = sockets.into_iter().enumerate().map(async |(nth, (mut client, target))| {
        for round in 0..40_i64 {
            client.send_content(&target, "x").await;
            let mut params = target.clone();
            // Two devices of a user mark positions in the middle, at the end and behind; each gets the
            // remaining count.
            params["seq"] = json!(1 + round * [4, 3, 1, 2][nth]);
            let kind = if round % 3 == 1 { "deliveredMessages" } else { "readMessages" };
            let marker = client.call_ok(kind, params).await;
            assert!(marker["item"]["unreadCount"].as_i64().is_some_and(|count| count >= 0), "{marker}");
            if round % 8 == 7 {
                client.call_ok("readMessages", target.clone()).await;
            }
            if round == 20 && nth == 0 {
                client.call_ok("removeConversation", target.clone()).await;
            }
        }
        client
    });
    let clients = join_all(busy).await;
    let mut clients: Vec<_> = [ann.id, bob.id].into_iter().zip(clients).collect();
    assert_counts_match(&server, &mut clients).await;
    for (_, client) in &mut clients {
        let row = client.call_ok("listConversations", json!({})).await["data"][0].take();
        let target = json!({ "receiverId": row["receiverId"] });
        assert_eq!(client.call_ok("readMessages", target).await["item"]["unreadCount"], 0);
    }
    assert_counts_match(&server, &mut clients).await;
}

/// An action of one of three users: to each other, or in their group.
#[derive(Clone, Debug)]
enum Act {
    Say { to: usize },
    SayInGroup,
    Read { to: usize, seq: Option<i64> },
    ReadGroup { seq: Option<i64> },
    Remove { to: usize },
    RemoveGroup,
    DeleteOwn,
    Edit,
    Leave,
    ComeBack,
}

fn act() -> impl Strategy<Value = (usize, Act)> {
    let seq = || proptest::option::of(1..12_i64);
    let act = prop_oneof![
        4 => (0..3_usize).prop_map(|to| Act::Say { to }),
        4 => Just(Act::SayInGroup),
        3 => ((0..3_usize), seq()).prop_map(|(to, seq)| Act::Read { to, seq }),
        3 => seq().prop_map(|seq| Act::ReadGroup { seq }),
        1 => (0..3_usize).prop_map(|to| Act::Remove { to }),
        1 => Just(Act::RemoveGroup),
        1 => Just(Act::DeleteOwn),
        1 => Just(Act::Edit),
        1 => Just(Act::Leave),
        1 => Just(Act::ComeBack),
    ];
    (0..3_usize, act)
}

/// Three users and their group on a server.
struct Fixture {
    clients: Vec<(i64, Client)>,
    group: i64,
    /// The last message of each user.
    last: [Option<i64>; 3],
}

impl Fixture {
    async fn start(server: &TestServer) -> Self {
        let mut clients = Vec::new();
        for user in server.create_users("U", 3).await {
            clients.push((user.id, server.connect(&user).await));
        }
        let ids: Vec<i64> = clients.iter().map(|(id, _)| *id).collect();
        let group = clients[0].1.new_group(&ids).await;
        Self { clients, group, last: [None; 3] }
    }

    /// Some actions are refused, as to a former member; the counts hold all the same.
    async fn act(&mut self, who: usize, act: &Act) {
        let to = |to: &usize| json!({ "receiverId": self.clients[*to].0 });
        let group = json!({ "groupId": self.group });
        let (kind, mut params) = match act {
            Act::Say { to: other } => ("privateMessage", to(other)),
            Act::SayInGroup => ("messageInGroup", group),
            Act::Read { to: other, .. } => ("readMessages", to(other)),
            Act::ReadGroup { .. } => ("readMessages", group),
            Act::Remove { to: other } => ("removeConversation", to(other)),
            Act::RemoveGroup => ("removeConversation", group),
            Act::DeleteOwn => ("deleteMessage", json!({ "messageId": self.last[who].unwrap_or(1) })),
            Act::Edit => ("editMessage", json!({ "messageId": self.last[who].unwrap_or(1) })),
            Act::Leave => ("leaveGroup", group),
            Act::ComeBack => ("addUserInGroup", json!({ "groupId": self.group, "userId": self.clients[who].0 })),
        };
        params["content"] = json!("x");
        if let Act::Read { seq: Some(seq), .. } | Act::ReadGroup { seq: Some(seq) } = act {
            params["seq"] = json!(seq);
        }
        // Any member may add a former member again.
        let actor = if matches!(act, Act::ComeBack) { (who + 1) % 3 } else { who };
        let reply = self.clients[actor].1.call(kind, params).await;
        let code = reply["code"].as_str().unwrap_or_default();
        let is_refusal = ["", "not_a_member", "already_a_member", "not_found", "not_author"].contains(&code);
        assert!(is_refusal, "{reply}");
        if let Some(message) = reply["params"]["item"]["messageId"].as_i64() {
            self.last[who] = Some(message);
        }
    }
}

#[test]
fn unread_count_equals_a_count_over_the_rows() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let acts = proptest::collection::vec(act(), 1..40);
    let run = TestRunner::new(config).run(&acts, |acts| {
        runtime.block_on(async {
            let mut fixture = Fixture::start(&server).await;
            for (who, act) in &acts {
                fixture.act(*who, act).await;
            }
            let reported = reported(&server, &mut fixture.clients).await;
            prop_assert_eq!(reported, counted(&server, &fixture.clients).await);
            Ok(())
        })
    });
    run.expect("the counts hold");
}
