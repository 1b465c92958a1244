//! Contacts and blocks: `addContact`, `removeContact`, `listContacts`, `blockUser`, `unblockUser` and
//! `listBlocked`: whose lists change, who is notified, and what a blocked user can still do.

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, User, answer, steady};

/// Opens a socket that subscribed to every event but presence.
async fn connect_subscribed(server: &TestServer, user: &User) -> Client {
    let mut client = server.connect(user).await;
    // Presence is left out, because it is pushed to contacts too, at its own time.
    let events = ["receipts", "typing", "groups", "contacts", "messages", "notifications", "own"];
    client.call("subscribe", json!({ "events": events })).await;
    client
}

async fn call_ok(client: &mut Client, kind: &str, params: Value) -> Value {
    let reply = client.call(kind, params).await;
    assert_eq!(reply["success"], true, "{reply}");
    reply
}

/// Returns what was pushed to `client` by the time that everything `cause` did is done.
async fn pushes_caused_by(cause: &mut Client, client: &mut Client) -> Vec<Value> {
    call_ok(cause, "getUser", json!({})).await;
    call_ok(client, "getUser", json!({})).await;
    client.take_buffered_pushes()
}

async fn ids(client: &mut Client, list: &str, params: Value) -> Vec<i64> {
    let reply = call_ok(client, list, params).await;
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

const NO_SUCH_USER: &str = "params.userId: there is no such user";
const NOT_ONESELF: &str = "params.userId must be somebody else";

#[tokio::test(flavor = "multi_thread")]
async fn add_contact_lists_the_contact_and_notifies_it_once() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let mut bob_client = connect_subscribed(&server, &bob).await;

    let reply = ann_client.call("addContact", json!({ "userId": bob.id })).await;
    assert_eq!(reply["params"], json!({ "data": null, "message": null, "senderName": null }));
    assert_json_snapshot!(bob_client.wait_for_push().await, @r#"
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
    call_ok(&mut ann_client, "addContact", json!({ "userId": bob.id })).await;
    assert!(pushes_caused_by(&mut ann_client, &mut bob_client).await.is_empty(), "a second time pushes nothing");

    let list = call_ok(&mut ann_client, "listContacts", json!({})).await["params"]["data"].clone();
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
    call_ok(&mut bob_client, "addContact", json!({ "userId": ann.id })).await;
    assert_eq!(ids(&mut bob_client, "listContacts", json!({})).await, [ann.id]);
    assert!(
        pushes_caused_by(&mut bob_client, &mut ann_client).await.is_empty(),
        "a socket without subscriptions gets no push"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_contact_is_idempotent_and_notifies_nobody() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let mut bob_client = connect_subscribed(&server, &bob).await;
    call_ok(&mut ann, "addContact", json!({ "userId": bob.id })).await;
    bob_client.wait_for_push().await;
    for _ in 0..2 {
        call_ok(&mut ann, "removeContact", json!({ "userId": bob.id })).await;
        assert_eq!(ids(&mut ann, "listContacts", json!({})).await, [0; 0]);
    }
    call_ok(&mut ann, "removeContact", json!({ "userId": 404 })).await;
    assert!(pushes_caused_by(&mut ann, &mut bob_client).await.is_empty());
    // A contact that is added again is pushed again.
    call_ok(&mut ann, "addContact", json!({ "userId": bob.id })).await;
    assert_eq!(bob_client.wait_for_push().await["type"], "addContact");
}

#[tokio::test(flavor = "multi_thread")]
async fn add_contact_is_pushed_to_own_sockets_only_when_it_changes_the_list() {
    let server = TestServer::start().await;
    let (ann, mut here) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let second = server.second_node().await;
    let mut there = second.connect(&ann).await;
    there.call("subscribe", json!({ "events": ["own"] })).await;
    let mut unsubscribed = server.connect(&ann).await;
    unsubscribed.call("subscribe", json!({ "events": ["contacts", "notifications"] })).await;
    bob_client.call("subscribe", json!({ "events": ["notifications", "own"] })).await;

    for kind in ["addContact", "removeContact", "blockUser", "unblockUser"] {
        call_ok(&mut here, kind, json!({ "userId": bob.id })).await;
        call_ok(&mut here, kind, json!({ "userId": bob.id })).await;
        let received = there.wait_for_push().await;
        let item = json!({ "userId": bob.id, "userName": "Bob" });
        assert_eq!((&received["type"], &received["params"]["item"]), (&json!(kind), &item));
        for client in [&mut there, &mut unsubscribed, &mut bob_client] {
            assert!(pushes_caused_by(&mut here, client).await.is_empty(), "{kind}");
        }
    }
    assert!(here.take_buffered_pushes().is_empty(), "nothing goes back to where it came from");
}

#[tokio::test(flavor = "multi_thread")]
async fn add_contact_and_block_user_refuse_oneself_and_unknown_users() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let gone = server.create_user("Gone").await;
    delete(&server, &gone).await;
    for kind in ["addContact", "blockUser"] {
        assert_eq!(
            refused(&mut client, kind, json!({ "userId": ann.id })).await,
            refusal("self", NOT_ONESELF),
            "{kind}"
        );
        for user in [404, gone.id] {
            assert_eq!(refused(&mut client, kind, json!({ "userId": user })).await, refusal("not_found", NO_SUCH_USER));
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
async fn list_contacts_and_list_blocked_pages_continue_whatever_changes_meanwhile() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Ann").await;
    let all: Vec<i64> = server.create_users("U", 7).await.iter().map(|user| user.id).collect();
    for (add, remove, list) in
        [("addContact", "removeContact", "listContacts"), ("blockUser", "unblockUser", "listBlocked")]
    {
        // They are added against the order of ids, so that the order of adding counts.
        let mut order: Vec<i64> = all.iter().rev().copied().collect();
        for id in &order[..6] {
            call_ok(&mut client, add, json!({ "userId": id })).await;
        }
        // Two contacts were added at one moment, so their ids decide; no two of the others were.
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
        call_ok(&mut client, remove, json!({ "userId": order[0] })).await;
        call_ok(&mut client, add, json!({ "userId": order[6] })).await;
        assert_eq!(ids(&mut client, list, json!({ "limit": 2, "page": 2 })).await, order[2..4]);
        assert_eq!(ids(&mut client, list, json!({ "limit": 2, "page": 3 })).await, order[4..6]);
        assert_eq!(ids(&mut client, list, json!({ "limit": 2, "page": 4 })).await, order[6..]);
        assert_eq!(ids(&mut client, list, json!({ "limit": 3, "page": 2 })).await, order[4..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_contacts_and_list_blocked_leave_out_deleted_accounts() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    for kind in ["addContact", "blockUser"] {
        call_ok(&mut client, kind, json!({ "userId": bob.id })).await;
        call_ok(&mut bob_client, kind, json!({ "userId": ann.id })).await;
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
        call_ok(&mut client, kind, json!({ "userId": bob.id })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn add_contact_from_many_sockets_at_once_notifies_once() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let ann = server.create_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let mut bob_client = connect_subscribed(&server, &bob).await;
    let mut clients = Vec::new();
    for nth in 0..8 {
        clients.push(if nth % 2 == 0 { &server } else { &second }.connect(&ann).await);
    }
    let adding = clients.iter_mut().map(|client| call_ok(client, "addContact", json!({ "userId": bob.id })));
    futures_util::future::join_all(adding).await;
    assert_eq!(bob_client.wait_for_push().await["type"], "addContact");
    for client in &mut clients {
        assert!(pushes_caused_by(client, &mut bob_client).await.is_empty());
    }
    assert_eq!(ids(&mut clients[0], "listContacts", json!({})).await, [bob.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_blocked_shows_blocked_users_who_are_not_notified() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let mut bob_client = connect_subscribed(&server, &bob).await;
    for _ in 0..2 {
        let reply = client.call("blockUser", json!({ "userId": bob.id })).await;
        assert_eq!(reply["params"], json!({ "data": null, "message": null, "senderName": null }));
    }
    let list = call_ok(&mut client, "listBlocked", json!({})).await["params"]["data"].clone();
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
    // In the other direction, a user is not notified of a user whom they have blocked.
    let mut subscribed_ann = connect_subscribed(&server, &ann).await;
    call_ok(&mut bob_client, "addContact", json!({ "userId": ann.id })).await;
    assert_eq!(ids(&mut bob_client, "listContacts", json!({})).await, [ann.id]);
    assert!(pushes_caused_by(&mut bob_client, &mut subscribed_ann).await.is_empty());
    // A blocked user is not notified either when the user who blocked them adds them as a contact.
    call_ok(&mut client, "addContact", json!({ "userId": bob.id })).await;
    for _ in 0..2 {
        call_ok(&mut client, "unblockUser", json!({ "userId": bob.id })).await;
    }
    call_ok(&mut client, "unblockUser", json!({ "userId": 404 })).await;
    assert_eq!(ids(&mut client, "listBlocked", json!({})).await, [0; 0]);
    assert!(pushes_caused_by(&mut client, &mut bob_client).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn unblock_user_lets_private_messages_through_again() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let to_ann = |content: &str, id: &str| json!({ "receiverId": ann.id, "content": content, "clientMessageId": id });
    let blocked = refusal("blocked", "This user does not take anything from you");

    // Bob is blocked before the first message: there is not even a dialog.
    call_ok(&mut ann_client, "blockUser", json!({ "userId": bob.id })).await;
    assert_eq!(refused(&mut bob_client, "privateMessage", to_ann("first", "a")).await, blocked);
    let dialogs =
        sqlx::query("select count(*) from conversations").fetch_one(&mut server.sql().await).await.expect("a count");
    assert_eq!(dialogs.get::<i64, _>(0), 0);

    // Once unblocked, the same send succeeds, and is not a repeat of the refused one.
    call_ok(&mut ann_client, "unblockUser", json!({ "userId": bob.id })).await;
    let first = call_ok(&mut bob_client, "privateMessage", to_ann("first", "a")).await["params"]["item"].clone();
    assert_eq!((&first["seq"], &first["duplicate"]), (&json!(1), &json!(false)));
    assert_eq!(ann_client.wait_for_push().await["params"]["message"], "first");

    // Blocked again, a stored send is answered as a repeat, and everything else is refused.
    call_ok(&mut ann_client, "blockUser", json!({ "userId": bob.id })).await;
    let again = call_ok(&mut bob_client, "privateMessage", to_ann("first", "a")).await["params"]["item"].clone();
    assert_eq!((&again["messageId"], &again["duplicate"]), (&first["messageId"], &json!(true)));
    assert_eq!(refused(&mut bob_client, "privateMessage", to_ann("second", "b")).await, blocked);
    let reply = json!({ "messageId": first["messageId"], "content": "third" });
    assert_eq!(refused(&mut bob_client, "replyMessage", reply.clone()).await, blocked);

    // The user who blocks can still write, and both have the same history.
    call_ok(&mut ann_client, "privateMessage", json!({ "receiverId": bob.id, "content": "from Ann" })).await;
    assert_eq!(bob_client.wait_for_push().await["params"]["message"], "from Ann");
    let history = call_ok(&mut bob_client, "getlatestMessageDialog", json!({ "receiverId": ann.id })).await;
    let said: Vec<_> = history["params"]["data"].as_array().expect("rows").iter().map(|row| &row["content"]).collect();
    assert_eq!(json!(said), json!(["from Ann", "first"]));
    assert!(pushes_caused_by(&mut bob_client, &mut ann_client).await.is_empty());

    call_ok(&mut ann_client, "unblockUser", json!({ "userId": bob.id })).await;
    call_ok(&mut bob_client, "replyMessage", reply).await;
    assert_eq!(ann_client.wait_for_push().await["params"]["message"], "third");
}

#[tokio::test(flavor = "multi_thread")]
async fn block_user_does_not_affect_groups_notes_or_the_rest_of_a_batch() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let group = call_ok(&mut ann_client, "newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
    let group = &group["params"]["item"]["groupId"];
    bob_client.wait_for_push().await;
    call_ok(&mut ann_client, "blockUser", json!({ "userId": bob.id })).await;

    // All are sent at once, so that they share batches.
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
        let reply = bob_client.wait_for_reply_to(id).await;
        answers.push((reply["params"]["item"]["seq"].clone(), reply["code"].clone()));
    }
    assert_eq!(json!(answers), json!([[1, null], [null, "blocked"], [1, null], [1, null]]));
    assert_eq!(cleo_client.wait_for_push().await["params"]["message"], "to Cleo");
    assert_eq!(ann_client.wait_for_push().await["params"]["message"], "to all");
    assert!(pushes_caused_by(&mut bob_client, &mut ann_client).await.is_empty());
}
