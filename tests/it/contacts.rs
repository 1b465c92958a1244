//! `addContact`, `blockUser` and what goes with them: whose lists change, who is told, and what
//! somebody who is blocked can still do.

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, User, answer, steady};

/// A socket that asked for everything.
async fn attentive(server: &TestServer, user: &User) -> Client {
    let mut client = server.connect(user).await;
    // To all but who comes and goes: that is told of contacts too, in its own time.
    let events = ["receipts", "typing", "groups", "contacts", "messages", "notifications", "own"];
    client.call("subscribe", json!({ "events": events })).await;
    client
}

async fn ok(client: &mut Client, kind: &str, params: Value) -> Value {
    let reply = client.call(kind, params).await;
    assert_eq!(reply["success"], true, "{reply}");
    reply
}

/// What `client` was pushed by the time that all that `cause` did has been done.
async fn pushed(cause: &mut Client, client: &mut Client) -> Vec<Value> {
    ok(cause, "getUser", json!({})).await;
    ok(client, "getUser", json!({})).await;
    client.pushes_so_far()
}

async fn ids(client: &mut Client, list: &str, params: Value) -> Vec<i64> {
    let reply = ok(client, list, params).await;
    reply["params"]["data"].as_array().expect("rows").iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

async fn refused(client: &mut Client, kind: &str, params: Value) -> (String, String) {
    let error = client.call(kind, params).await;
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("a refusal of {kind}: {error}")).to_owned();
    (text("code"), text("message"))
}

fn refusal(code: &str, message: &str) -> (String, String) {
    (code.to_owned(), message.to_owned())
}

async fn delete(server: &TestServer, user: &User) {
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&user.token)).await.no_content();
}

const NOBODY: &str = "params.userId: there is no such user";
const MYSELF: &str = "params.userId must be somebody else";

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_on_my_list_and_is_told_once() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    let mut bob_client = attentive(&server, &bob).await;

    let reply = ann_client.call("addContact", json!({ "userId": bob.id })).await;
    assert_eq!(reply["params"], json!({ "data": null, "message": null, "senderName": null }));
    assert_json_snapshot!(bob_client.push().await, @r#"
    {
      "params": {
        "data": null,
        "item": {
          "userId": 1,
          "userName": "Ann"
        },
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "addContact"
    }
    "#);
    ok(&mut ann_client, "addContact", json!({ "userId": bob.id })).await;
    assert!(pushed(&mut ann_client, &mut bob_client).await.is_empty(), "a second time is no news");

    let list = ok(&mut ann_client, "listContacts", json!({})).await["params"]["data"].clone();
    assert_json_snapshot!(steady(list), { "[].username" => "[username]" }, @r#"
    [
      {
        "addedAt": "[time]",
        "firstName": "Bob",
        "id": 2,
        "lastName": null,
        "username": "[username]"
      }
    ]
    "#);
    assert_eq!(ids(&mut bob_client, "listContacts", json!({})).await, [0; 0], "the list is mine alone");
    ok(&mut bob_client, "addContact", json!({ "userId": ann.id })).await;
    assert_eq!(ids(&mut bob_client, "listContacts", json!({})).await, [ann.id]);
    assert!(pushed(&mut bob_client, &mut ann_client).await.is_empty(), "who asked for nothing is told nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_removed_silently_and_may_not_have_been_there() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    let mut bob_client = attentive(&server, &bob).await;
    ok(&mut ann, "addContact", json!({ "userId": bob.id })).await;
    bob_client.push().await;
    for _ in 0..2 {
        ok(&mut ann, "removeContact", json!({ "userId": bob.id })).await;
        assert_eq!(ids(&mut ann, "listContacts", json!({})).await, [0; 0]);
    }
    ok(&mut ann, "removeContact", json!({ "userId": 404 })).await;
    assert!(pushed(&mut ann, &mut bob_client).await.is_empty());
    // Added anew is news again.
    ok(&mut ann, "addContact", json!({ "userId": bob.id })).await;
    assert_eq!(bob_client.push().await["type"], "addContact");
}

#[tokio::test(flavor = "multi_thread")]
async fn my_other_sockets_are_told_where_they_asked_and_only_of_changes() {
    let server = TestServer::start().await;
    let (ann, mut here) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let second = server.second_node().await;
    let mut there = second.connect(&ann).await;
    there.call("subscribe", json!({ "events": ["own"] })).await;
    let mut deaf = server.connect(&ann).await;
    deaf.call("subscribe", json!({ "events": ["contacts", "notifications"] })).await;
    bob_client.call("subscribe", json!({ "events": ["notifications", "own"] })).await;

    for kind in ["addContact", "removeContact", "blockUser", "unblockUser"] {
        ok(&mut here, kind, json!({ "userId": bob.id })).await;
        ok(&mut here, kind, json!({ "userId": bob.id })).await;
        let told = there.push().await;
        let item = json!({ "userId": bob.id, "userName": "Bob" });
        assert_eq!((&told["type"], &told["params"]["item"]), (&json!(kind), &item));
        for client in [&mut there, &mut deaf, &mut bob_client] {
            assert!(pushed(&mut here, client).await.is_empty(), "{kind}");
        }
    }
    assert!(here.pushes_so_far().is_empty(), "nothing goes back to where it came from");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_people_refuse_oneself_and_who_is_not_there() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let gone = server.user("Gone").await;
    delete(&server, &gone).await;
    for kind in ["addContact", "blockUser"] {
        assert_eq!(refused(&mut client, kind, json!({ "userId": ann.id })).await, refusal("self", MYSELF), "{kind}");
        for user in [404, gone.id] {
            assert_eq!(refused(&mut client, kind, json!({ "userId": user })).await, refusal("not_found", NOBODY));
        }
    }
    for kind in ["addContact", "removeContact", "blockUser", "unblockUser"] {
        for (params, sentence) in [
            (json!({}), "params.userId is required"),
            (json!({ "userId": null }), "params.userId is required"),
            (json!({ "userId": "2" }), "params.userId must be an integer from 1"),
            (json!({ "userId": 0 }), "params.userId must be an integer from 1"),
        ] {
            assert_eq!(refused(&mut client, kind, params).await, refusal("bad_params", sentence), "{kind}");
        }
    }
    for kind in ["listContacts", "listBlocked"] {
        for (params, sentence) in [
            (json!({ "limit": 0 }), "params.limit must be an integer from 1 to 100"),
            (json!({ "limit": 101 }), "params.limit must be an integer from 1 to 100"),
            (json!({ "page": 0 }), "params.page must be an integer from 1"),
            (json!({ "page": "x" }), "params.page must be an integer from 1"),
        ] {
            assert_eq!(refused(&mut client, kind, params).await, refusal("bad_params", sentence), "{kind}");
        }
        assert_eq!(ids(&mut client, kind, json!({ "page": 9_007_199_254_740_991_i64 })).await, [0; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_people_go_on_where_they_ended_whatever_changes_meanwhile() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Ann").await;
    let all: Vec<i64> = server.users("U", 7).await.iter().map(|user| user.id).collect();
    for (add, remove, list) in
        [("addContact", "removeContact", "listContacts"), ("blockUser", "unblockUser", "listBlocked")]
    {
        // Against the order of ids, so that it is the order of adding which counts.
        let mut order: Vec<i64> = all.iter().rev().copied().collect();
        for id in &order[..6] {
            ok(&mut client, add, json!({ "userId": id })).await;
        }
        // Of two that came at one moment the id decides, and no two of the others did.
        for (nth, id) in (0..).zip(&order[..6]) {
            for statement in [
                "update contacts set created_at = timestamptz '2026-01-01' + make_interval(secs => $1) where contact_id = $2",
                "update blocks set created_at = timestamptz '2026-01-01' + make_interval(secs => $1) where blocked_id = $2",
            ] {
                let update = sqlx::query(statement).bind(f64::from(nth.max(1))).bind(id);
                update.execute(&mut server.sql().await).await.expect("rows");
            }
        }
        order.swap(0, 1);
        assert_eq!(ids(&mut client, list, json!({})).await, order[..6]);
        assert_eq!(ids(&mut client, list, json!({ "limit": 2 })).await, order[..2]);
        ok(&mut client, remove, json!({ "userId": order[0] })).await;
        ok(&mut client, add, json!({ "userId": order[6] })).await;
        assert_eq!(ids(&mut client, list, json!({ "limit": 2, "page": 2 })).await, order[2..4]);
        assert_eq!(ids(&mut client, list, json!({ "limit": 2, "page": 3 })).await, order[4..6]);
        assert_eq!(ids(&mut client, list, json!({ "limit": 2, "page": 4 })).await, order[6..]);
        assert_eq!(ids(&mut client, list, json!({ "limit": 3, "page": 2 })).await, order[4..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_goes_from_all_lists() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    for kind in ["addContact", "blockUser"] {
        ok(&mut client, kind, json!({ "userId": bob.id })).await;
        ok(&mut bob_client, kind, json!({ "userId": ann.id })).await;
    }
    delete(&server, &bob).await;
    for list in ["listContacts", "listBlocked"] {
        assert_eq!(ids(&mut client, list, json!({})).await, [0; 0], "{list}");
    }
    let left = sqlx::query("select (select count(*) from contacts) + (select count(*) from blocks)")
        .fetch_one(&mut server.sql().await)
        .await
        .expect("a count");
    assert_eq!(left.get::<i64, _>(0), 0);
    for kind in ["removeContact", "unblockUser"] {
        ok(&mut client, kind, json!({ "userId": bob.id })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_added_at_once_from_everywhere_is_told_once() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let ann = server.user("Ann").await;
    let bob = server.user("Bob").await;
    let mut bob_client = attentive(&server, &bob).await;
    let mut clients = Vec::new();
    for nth in 0..8 {
        clients.push(if nth % 2 == 0 { &server } else { &second }.connect(&ann).await);
    }
    let adding = clients.iter_mut().map(|client| ok(client, "addContact", json!({ "userId": bob.id })));
    futures_util::future::join_all(adding).await;
    assert_eq!(bob_client.push().await["type"], "addContact");
    for client in &mut clients {
        assert!(pushed(client, &mut bob_client).await.is_empty());
    }
    assert_eq!(ids(&mut clients[0], "listContacts", json!({})).await, [bob.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_is_on_a_list_of_mine_and_hears_nothing() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    let mut bob_client = attentive(&server, &bob).await;
    for _ in 0..2 {
        let reply = client.call("blockUser", json!({ "userId": bob.id })).await;
        assert_eq!(reply["params"], json!({ "data": null, "message": null, "senderName": null }));
    }
    let list = ok(&mut client, "listBlocked", json!({})).await["params"]["data"].clone();
    assert_json_snapshot!(steady(list), { "[].username" => "[username]" }, @r#"
    [
      {
        "addedAt": "[time]",
        "firstName": "Bob",
        "id": 2,
        "lastName": null,
        "username": "[username]"
      }
    ]
    "#);
    assert_eq!(ids(&mut bob_client, "listBlocked", json!({})).await, [0; 0]);
    // The other way, nobody is told of somebody whom they take nothing from.
    let mut attentive_ann = attentive(&server, &ann).await;
    ok(&mut bob_client, "addContact", json!({ "userId": ann.id })).await;
    assert_eq!(ids(&mut bob_client, "listContacts", json!({})).await, [ann.id]);
    assert!(pushed(&mut bob_client, &mut attentive_ann).await.is_empty());
    // Nor that those who take nothing from them have them as a contact.
    ok(&mut client, "addContact", json!({ "userId": bob.id })).await;
    for _ in 0..2 {
        ok(&mut client, "unblockUser", json!({ "userId": bob.id })).await;
    }
    ok(&mut client, "unblockUser", json!({ "userId": 404 })).await;
    assert_eq!(ids(&mut client, "listBlocked", json!({})).await, [0; 0]);
    assert!(pushed(&mut client, &mut bob_client).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_users_private_messages_are_refused_until_unblocked() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let to_ann = |content: &str, id: &str| json!({ "receiverId": ann.id, "content": content, "clientMessageId": id });
    let blocked = refusal("blocked", "This user does not take anything from you");

    // Blocked before the first word: there is not even a dialog.
    ok(&mut ann_client, "blockUser", json!({ "userId": bob.id })).await;
    assert_eq!(refused(&mut bob_client, "privateMessage", to_ann("first", "a")).await, blocked);
    let dialogs =
        sqlx::query("select count(*) from conversations").fetch_one(&mut server.sql().await).await.expect("a count");
    assert_eq!(dialogs.get::<i64, _>(0), 0);

    // Unblocked: the same send goes through, and is none of the refused one's repeats.
    ok(&mut ann_client, "unblockUser", json!({ "userId": bob.id })).await;
    let first = ok(&mut bob_client, "privateMessage", to_ann("first", "a")).await["params"]["item"].clone();
    assert_eq!((&first["seq"], &first["duplicate"]), (&json!(1), &json!(false)));
    assert_eq!(ann_client.push().await["params"]["message"], "first");

    // Blocked again: what was stored is answered as a repeat, all else is refused.
    ok(&mut ann_client, "blockUser", json!({ "userId": bob.id })).await;
    let again = ok(&mut bob_client, "privateMessage", to_ann("first", "a")).await["params"]["item"].clone();
    assert_eq!((&again["messageId"], &again["duplicate"]), (&first["messageId"], &json!(true)));
    assert_eq!(refused(&mut bob_client, "privateMessage", to_ann("second", "b")).await, blocked);
    let reply = json!({ "messageId": first["messageId"], "content": "third" });
    assert_eq!(refused(&mut bob_client, "replyMessage", reply.clone()).await, blocked);

    // The one who blocks can still write, and the history is both's.
    ok(&mut ann_client, "privateMessage", json!({ "receiverId": bob.id, "content": "from Ann" })).await;
    assert_eq!(bob_client.push().await["params"]["message"], "from Ann");
    let history = ok(&mut bob_client, "getlatestMessageDialog", json!({ "receiverId": ann.id })).await;
    let said: Vec<_> = history["params"]["data"].as_array().expect("rows").iter().map(|row| &row["content"]).collect();
    assert_eq!(json!(said), json!(["from Ann", "first"]));
    assert!(pushed(&mut bob_client, &mut ann_client).await.is_empty());

    ok(&mut ann_client, "unblockUser", json!({ "userId": bob.id })).await;
    ok(&mut bob_client, "replyMessage", reply).await;
    assert_eq!(ann_client.push().await["params"]["message"], "third");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_spares_groups_notes_and_the_neighbours_of_what_it_refuses() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    let group = ok(&mut ann_client, "newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
    let group = &group["params"]["item"]["groupId"];
    bob_client.push().await;
    ok(&mut ann_client, "blockUser", json!({ "userId": bob.id })).await;

    // All at once, so that they share batches.
    let requests = [
        ("privateMessage", json!({ "receiverId": cleo.id, "content": "to Cleo" })),
        ("privateMessage", json!({ "receiverId": ann.id, "content": "to Ann" })),
        ("messageInGroup", json!({ "groupId": group, "content": "to all" })),
        ("privateMessage", json!({ "receiverId": bob.id, "content": "note" })),
    ];
    let mut sent = Vec::new();
    for (kind, params) in requests {
        sent.push(bob_client.send(kind, params).await);
    }
    let mut answers = Vec::new();
    for id in sent {
        let reply = bob_client.reply_to(id).await;
        answers.push((reply["params"]["item"]["seq"].clone(), reply["code"].clone()));
    }
    assert_eq!(json!(answers), json!([[1, null], [null, "blocked"], [1, null], [1, null]]));
    assert_eq!(cleo_client.push().await["params"]["message"], "to Cleo");
    assert_eq!(ann_client.push().await["params"]["message"], "to all");
    assert!(pushed(&mut bob_client, &mut ann_client).await.is_empty());
}
