//! What admins do to a group: who may, who is told, who is out.

mod members;

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, User};

/// Ann, who made the group and is its admin, and Bob and Cleo; all three asked for `groups`.
struct World {
    server: TestServer,
    group: i64,
    ann: User,
    bob: User,
    cleo: User,
    ann_client: Client,
    bob_client: Client,
    cleo_client: Client,
}

async fn subscribe(client: &mut Client, events: &[&str]) {
    assert_eq!(client.call("subscribe", json!({ "events": events })).await["success"], true);
}

async fn new_group(client: &mut Client, user_ids: &[i64]) -> i64 {
    let reply = client.call("newGroup", json!({ "groupName": "Book club", "userIds": user_ids })).await;
    reply["params"]["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {reply}"))
}

impl World {
    async fn begin() -> Self {
        let server = TestServer::start().await;
        let (ann, mut ann_client) = server.client("Ann").await;
        let (bob, mut bob_client) = server.client("Bob").await;
        let (cleo, mut cleo_client) = server.client("Cleo").await;
        let group = new_group(&mut ann_client, &[bob.id, cleo.id]).await;
        for client in [&mut bob_client, &mut cleo_client] {
            client.push().await;
            client.push().await;
        }
        for client in [&mut ann_client, &mut bob_client, &mut cleo_client] {
            subscribe(client, &["groups"]).await;
        }
        Self { server, group, ann, bob, cleo, ann_client, bob_client, cleo_client }
    }
}

fn about(group: i64, user: &User) -> Value {
    json!({ "groupId": group, "userId": user.id })
}

fn whole(group: i64) -> Value {
    json!({ "groupId": group })
}

/// The frames that admins alone may send, about this user where they are about one.
fn admins_frames(group: i64, user: i64) -> [(&'static str, Value); 5] {
    let about = json!({ "groupId": group, "userId": user });
    [
        ("removeUserFromGroup", about.clone()),
        ("addGroupAdmin", about.clone()),
        ("removeGroupAdmin", about),
        ("renameGroup", json!({ "groupId": group, "groupName": "Taken over" })),
        ("dropGroup", json!({ "groupId": group })),
    ]
}

async fn done(client: &mut Client, kind: &str, params: Value) {
    let reply = client.call(kind, params).await;
    assert_eq!(
        (&reply["success"], &reply["params"]),
        (&json!(true), &json!({ "data": null, "message": null, "senderName": null })),
        "{kind}: {reply}"
    );
}

async fn refused(client: &mut Client, kind: &str, params: Value) -> (String, String) {
    let error = client.call(kind, params).await;
    let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{kind} is refused: {error}")).to_owned();
    (text("code"), text("message"))
}

/// Nothing was pushed to it. The call is a fence for what was pushed before.
async fn assert_silent(client: &mut Client) {
    client.call("listLastMessage", json!({})).await;
    assert_eq!(client.pushes_so_far(), [] as [Value; 0]);
}

/// What is noted of a group: the frame, and whom it is about.
async fn events(server: &TestServer, group: i64) -> Vec<(String, Option<i64>)> {
    let select = "select e.kind, e.user_id, e.change > 0 and e.change <= c.change from group_events e
                  join conversations c on c.id = e.conversation_id where c.id = $1 order by e.id";
    let rows = sqlx::query(select).bind(group).fetch_all(&mut server.sql().await).await.expect("rows");
    assert!(rows.iter().all(|row| row.get(2)), "the group's number is not behind those of its events");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn noted(kind: &str, user: &User) -> (String, Option<i64>) {
    (kind.to_owned(), Some(user.id))
}

async fn admins(server: &TestServer, group: i64) -> Vec<i64> {
    let select = "select user_id from members where conversation_id = $1 and is_admin order by user_id";
    let rows = sqlx::query(select).bind(group).fetch_all(&mut server.sql().await).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_may_and_a_refusal_is_told_to_nobody_else() {
    let mut world = World::begin().await;
    let (_, mut stranger) = world.server.client("Stranger").await;
    let outsider = world.server.user("Outsider").await;
    let group = world.group;
    for (kind, params) in admins_frames(group, world.cleo.id) {
        let answer = refused(&mut world.bob_client, kind, params.clone()).await;
        assert_eq!(answer, ("not_admin".to_owned(), "Only admins of this group may do that".to_owned()), "{kind}");
        let answer = refused(&mut stranger, kind, params).await;
        assert_eq!(answer, ("not_a_member".to_owned(), "User is not a member of this group".to_owned()), "{kind}");
    }
    for (kind, params) in admins_frames(404, world.cleo.id) {
        let answer = refused(&mut world.ann_client, kind, params).await;
        assert_eq!(answer, ("not_found".to_owned(), "params.groupId: there is no such group".to_owned()), "{kind}");
    }
    for (user, code, sentence) in [
        (404, "not_found", "params.userId: there is no such user"),
        (outsider.id, "not_a_member", "params.userId: this user is not a member of the group"),
    ] {
        for (kind, params) in admins_frames(group, user).into_iter().take(3) {
            let answer = refused(&mut world.ann_client, kind, params).await;
            assert_eq!(answer, (code.to_owned(), sentence.to_owned()), "{kind} {user}");
        }
    }
    // A dialog is no group, whatever its number.
    world.ann_client.call("privateMessage", json!({ "receiverId": world.bob.id, "content": "Hi" })).await;
    world.bob_client.push().await;
    assert_eq!(refused(&mut world.ann_client, "dropGroup", json!({ "groupId": group + 1 })).await.0, "not_found");

    for client in [&mut world.ann_client, &mut world.bob_client, &mut world.cleo_client, &mut stranger] {
        assert_silent(client).await;
    }
    assert_eq!(events(&world.server, group).await.len(), 3, "what was refused is not noted");
    assert_eq!(admins(&world.server, group).await, [world.ann.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_them_is_checked() {
    let mut world = World::begin().await;
    let cases = [
        ("removeUserFromGroup", json!({ "userId": 2 }), "params.groupId is required"),
        ("removeUserFromGroup", json!({ "groupId": 1 }), "params.userId is required"),
        ("addGroupAdmin", json!({ "groupId": "1", "userId": 2 }), "params.groupId must be an integer from 1"),
        ("removeGroupAdmin", json!({ "groupId": 1, "userId": 0 }), "params.userId must be an integer from 1"),
        ("renameGroup", json!({ "groupId": 1 }), "params.groupName is required"),
        ("renameGroup", json!({ "groupId": 1, "groupName": "" }), "params.groupName must be 1 to 100 characters"),
        ("renameGroup", json!({ "groupId": 1, "groupName": "a\0" }), "params.groupName must not contain U+0000"),
        ("dropGroup", json!({}), "params.groupId is required"),
        ("dropGroup", json!({ "groupId": null }), "params.groupId is required"),
        ("listGroupUsers", json!({}), "params.groupId is required"),
        ("listGroupUsers", json!({ "groupId": 1, "limit": 101 }), "params.limit must be an integer from 1 to 100"),
        ("listGroupUsers", json!({ "groupId": 1, "page": 0 }), "params.page must be an integer from 1"),
    ];
    for (kind, params, sentence) in cases {
        let answer = refused(&mut world.ann_client, kind, params).await;
        assert_eq!(answer, ("bad_params".to_owned(), sentence.to_owned()), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_is_out_and_everybody_who_asked_is_told() {
    let mut world = World::begin().await;
    let mut quiet = world.server.connect(&world.cleo).await;
    let mut own = world.server.connect(&world.ann).await;
    subscribe(&mut own, &["own"]).await;
    let mut not_own = world.server.connect(&world.ann).await;
    subscribe(&mut not_own, &["groups"]).await;

    let params = about(world.group, &world.bob);
    done(&mut world.ann_client, "removeUserFromGroup", params.clone()).await;
    let told = world.bob_client.push().await;
    assert_json_snapshot!(told, @r#"
    {
      "params": {
        "data": null,
        "item": {
          "groupId": 1,
          "groupName": "Book club",
          "userId": 2,
          "userName": "Bob"
        },
        "message": "User Bob has been removed from the group.",
        "senderName": null
      },
      "success": true,
      "type": "removeUserFromGroup"
    }
    "#);
    assert_eq!(world.cleo_client.push().await, told);
    assert_eq!(own.push().await, told, "what I do reaches my other sockets that asked for it");
    for client in [&mut world.ann_client, &mut quiet, &mut not_own] {
        assert_silent(client).await;
    }

    world.ann_client.call("messageInGroup", json!({ "groupId": world.group, "content": "gone?" })).await;
    for (kind, params) in [
        ("messageInGroup", json!({ "groupId": world.group, "content": "x" })),
        ("getlatestMessageGroup", whole(world.group)),
        ("listGroupUsers", whole(world.group)),
        ("leaveGroup", whole(world.group)),
    ] {
        assert_eq!(refused(&mut world.bob_client, kind, params).await.0, "not_a_member", "{kind}");
    }
    assert_silent(&mut world.bob_client).await;
    let again = refused(&mut world.ann_client, "removeUserFromGroup", params).await;
    assert_eq!(again.0, "not_a_member");
    let events = events(&world.server, world.group).await;
    assert_eq!(events.last(), Some(&noted("removeUserFromGroup", &world.bob)));
    assert_eq!(events.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_may_remove_another_and_go_where_another_stays() {
    let mut world = World::begin().await;
    let ann = about(world.group, &world.ann);
    let last = (
        "conflict".to_owned(),
        "params.userId is the last admin of this group; make somebody else an admin first".to_owned(),
    );
    for kind in ["removeUserFromGroup", "removeGroupAdmin"] {
        assert_eq!(refused(&mut world.ann_client, kind, ann.clone()).await, last, "{kind}");
    }
    assert_silent(&mut world.bob_client).await;

    for user in [&world.bob, &world.cleo] {
        done(&mut world.ann_client, "addGroupAdmin", about(world.group, user)).await;
    }
    done(&mut world.bob_client, "removeUserFromGroup", about(world.group, &world.cleo)).await;
    done(&mut world.ann_client, "removeUserFromGroup", ann).await;
    assert_eq!(admins(&world.server, world.group).await, [world.bob.id]);
    let bob = about(world.group, &world.bob);
    assert_eq!(refused(&mut world.bob_client, "removeUserFromGroup", bob).await, last);
    assert_eq!(
        events(&world.server, world.group).await[3..],
        [
            noted("addGroupAdmin", &world.bob),
            noted("addGroupAdmin", &world.cleo),
            noted("removeUserFromGroup", &world.cleo),
            noted("removeUserFromGroup", &world.ann),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_are_made_and_unmade_once() {
    let mut world = World::begin().await;
    let bob = about(world.group, &world.bob);
    // None yet: done, and nobody hears of it.
    done(&mut world.ann_client, "removeGroupAdmin", bob.clone()).await;
    for _ in 0..2 {
        done(&mut world.ann_client, "addGroupAdmin", bob.clone()).await;
    }
    let told = world.bob_client.push().await;
    assert_eq!(world.cleo_client.push().await, told);
    assert_eq!(
        (&told["type"], &told["params"]["message"], &told["params"]["item"]["userName"]),
        (&json!("addGroupAdmin"), &json!("User Bob is now an admin of the group."), &json!("Bob"))
    );
    for _ in 0..2 {
        done(&mut world.bob_client, "removeGroupAdmin", bob.clone()).await;
        if admins(&world.server, world.group).await == [world.ann.id] {
            break;
        }
    }
    let told = world.ann_client.push().await;
    assert_eq!(world.cleo_client.push().await, told);
    assert_eq!(
        (&told["type"], &told["params"]["message"]),
        (&json!("removeGroupAdmin"), &json!("User Bob is no longer an admin of the group."))
    );
    assert_eq!(
        refused(&mut world.bob_client, "renameGroup", json!({ "groupId": world.group, "groupName": "B" })).await.0,
        "not_admin"
    );
    for client in [&mut world.ann_client, &mut world.bob_client, &mut world.cleo_client] {
        assert_silent(client).await;
    }
    assert_eq!(
        events(&world.server, world.group).await[3..],
        [noted("addGroupAdmin", &world.bob), noted("removeGroupAdmin", &world.bob)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_who_unmake_each_other_at_once_leave_one() {
    let mut world = World::begin().await;
    let second = world.server.second_node().await;
    let mut bob_client = second.connect(&world.bob).await;
    for kind in ["removeGroupAdmin", "removeUserFromGroup"].repeat(5) {
        let group = new_group(&mut world.ann_client, &[world.bob.id]).await;
        let (ann, bob) = (about(group, &world.ann), about(group, &world.bob));
        done(&mut world.ann_client, "addGroupAdmin", bob.clone()).await;
        let (one, other) = tokio::join!(world.ann_client.call(kind, bob), bob_client.call(kind, ann));
        let refusal = if one["success"] == true { &other } else { &one };
        let too_late = if kind == "removeGroupAdmin" { "not_admin" } else { "not_a_member" };
        assert_eq!(refusal["code"], too_late, "{one} {other}");
        assert_eq!(admins(&world.server, group).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_told_and_shown_everywhere() {
    let mut world = World::begin().await;
    world.ann_client.call("messageInGroup", json!({ "groupId": world.group, "content": "Hi" })).await;
    for client in [&mut world.bob_client, &mut world.cleo_client] {
        client.push().await;
    }
    let name = json!({ "groupId": world.group, "groupName": "Chess 'club' ♟" });
    for _ in 0..2 {
        done(&mut world.ann_client, "renameGroup", name.clone()).await;
    }
    let told = world.bob_client.push().await;
    assert_eq!(world.cleo_client.push().await, told);
    assert_json_snapshot!(told["params"], @r#"
    {
      "data": null,
      "item": {
        "groupId": 1,
        "groupName": "Chess 'club' ♟",
        "userId": 1,
        "userName": "Ann"
      },
      "message": "User Ann has renamed the group.",
      "senderName": null
    }
    "#);
    let list = world.cleo_client.call("listLastMessage", json!({})).await;
    assert_eq!(list["params"]["data"][0]["groupName"], "Chess 'club' ♟");
    for client in [&mut world.ann_client, &mut world.bob_client, &mut world.cleo_client] {
        assert_silent(client).await;
    }
    assert_eq!(events(&world.server, world.group).await[3..], [("renameGroup".to_owned(), None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_group_is_gone_for_all_and_its_messages_stay() {
    let mut world = World::begin().await;
    world.ann_client.call("messageInGroup", json!({ "groupId": world.group, "content": "Hi" })).await;
    for client in [&mut world.bob_client, &mut world.cleo_client] {
        client.push().await;
    }
    done(&mut world.ann_client, "dropGroup", whole(world.group)).await;
    let told = world.bob_client.push().await;
    assert_eq!(world.cleo_client.push().await, told);
    assert_json_snapshot!(told, @r#"
    {
      "params": {
        "data": null,
        "item": {
          "groupId": 1,
          "groupName": "Book club"
        },
        "message": "User Ann has ended the group.",
        "senderName": null
      },
      "success": true,
      "type": "dropGroup"
    }
    "#);
    let mut frames = admins_frames(world.group, world.bob.id).to_vec();
    frames.extend([
        ("addUserInGroup", about(world.group, &world.bob)),
        ("leaveGroup", whole(world.group)),
        ("listGroupUsers", whole(world.group)),
        ("getlatestMessageGroup", whole(world.group)),
        ("messageInGroup", json!({ "groupId": world.group, "content": "x" })),
    ]);
    for client in [&mut world.ann_client, &mut world.bob_client] {
        for (kind, params) in frames.clone() {
            let answer = refused(client, kind, params).await;
            assert_eq!(answer, ("not_found".to_owned(), "params.groupId: there is no such group".to_owned()), "{kind}");
        }
        let list = client.call("listLastMessage", json!({})).await;
        assert_eq!(list["params"]["data"], json!([]));
        assert_eq!(client.pushes_so_far(), [] as [Value; 0]);
    }
    let about = [&world.ann, &world.bob, &world.cleo].map(|user| noted("dropGroup", user));
    assert_eq!(events(&world.server, world.group).await[3..], about);
    let select = "select (select count(*) from messages), (select count(*) from members), ended_at is not null from conversations";
    let row = sqlx::query(select).fetch_one(&mut world.server.sql().await).await.expect("a row");
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1), row.get::<bool, _>(2)), (1, 0, true));
}
