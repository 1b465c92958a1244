//! Group administration: `removeUserFromGroup`, `addGroupAdmin`, `removeGroupAdmin`, `renameGroup` and
//! `dropGroup`.

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, User};

/// A group of Ann, who created it and is its admin, Bob and Cleo, who all subscribed to `groups`.
pub struct GroupFixture {
    pub server: TestServer,
    pub group: i64,
    pub ann: User,
    pub bob: User,
    pub cleo: User,
    pub ann_client: Client,
    pub bob_client: Client,
    pub cleo_client: Client,
}

async fn subscribe(client: &mut Client, recorded_events: &[&str]) {
    assert_eq!(client.call("subscribe", json!({ "events": recorded_events })).await["success"], true);
}

async fn new_group(client: &mut Client, user_ids: &[i64]) -> i64 {
    let reply = client.call("newGroup", json!({ "groupName": "Book club", "userIds": user_ids })).await;
    reply["params"]["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {reply}"))
}

impl GroupFixture {
    pub async fn start() -> Self {
        let server = TestServer::start().await;
        let (ann, mut ann_client) = server.connect_user("Ann").await;
        let (bob, mut bob_client) = server.connect_user("Bob").await;
        let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
        let group = new_group(&mut ann_client, &[bob.id, cleo.id]).await;
        for client in [&mut bob_client, &mut cleo_client] {
            client.wait_for_push().await;
            client.wait_for_push().await;
        }
        for client in [&mut ann_client, &mut bob_client, &mut cleo_client] {
            subscribe(client, &["groups"]).await;
        }
        Self { server, group, ann, bob, cleo, ann_client, bob_client, cleo_client }
    }
}

pub fn member_params(group: i64, user: &User) -> Value {
    json!({ "groupId": group, "userId": user.id })
}

pub fn group_params(group: i64) -> Value {
    json!({ "groupId": group })
}

/// Returns the frames that only admins may send, about this user where they concern one.
fn admins_frames(group: i64, user: i64) -> [(&'static str, Value); 5] {
    let member_params = json!({ "groupId": group, "userId": user });
    [
        ("removeUserFromGroup", member_params.clone()),
        ("addGroupAdmin", member_params.clone()),
        ("removeGroupAdmin", member_params),
        ("renameGroup", json!({ "groupId": group, "groupName": "Taken over" })),
        ("dropGroup", json!({ "groupId": group })),
    ]
}

pub async fn call_ok(client: &mut Client, kind: &str, params: Value) {
    let reply = client.call(kind, params).await;
    assert_eq!(
        (&reply["success"], &reply["params"]),
        (&json!(true), &json!({ "data": null, "message": null, "senderName": null })),
        "{kind}: {reply}"
    );
}

pub async fn refused(client: &mut Client, kind: &str, params: Value) -> (String, String) {
    let error = client.call(kind, params).await;
    let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{kind} is refused: {error}")).to_owned();
    (text("code"), text("message"))
}

/// Asserts that nothing was pushed to a client. The call is a fence for earlier pushes.
async fn assert_silent(client: &mut Client) {
    client.call("listLastMessage", json!({})).await;
    assert_eq!(client.take_buffered_pushes(), [] as [Value; 0]);
}

/// Returns the recorded events of a group: the frame type, and the user that each concerns.
pub async fn recorded_events(server: &TestServer, group: i64) -> Vec<(String, Option<i64>)> {
    let select = "select e.kind, e.user_id, e.change > 0 and e.change <= c.change from group_events e
                  join conversations c on c.id = e.conversation_id where c.id = $1 order by e.id";
    let rows = sqlx::query(select).bind(group).fetch_all(&mut server.sql().await).await.expect("rows");
    assert!(rows.iter().all(|row| row.get(2)), "the group's number is not behind those of its events");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

pub fn recorded(kind: &str, user: &User) -> (String, Option<i64>) {
    (kind.to_owned(), Some(user.id))
}

async fn admins(server: &TestServer, group: i64) -> Vec<i64> {
    let select = "select user_id from members where conversation_id = $1 and is_admin order by user_id";
    let rows = sqlx::query(select).bind(group).fetch_all(&mut server.sql().await).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_frames_are_refused_to_members_and_strangers_without_a_push() {
    let mut fixture = GroupFixture::start().await;
    let (_, mut stranger) = fixture.server.connect_user("Stranger").await;
    let outsider = fixture.server.create_user("Outsider").await;
    let group = fixture.group;
    for (kind, params) in admins_frames(group, fixture.cleo.id) {
        let answer = refused(&mut fixture.bob_client, kind, params.clone()).await;
        assert_eq!(answer, ("not_admin".to_owned(), "Only admins of this group may do that".to_owned()), "{kind}");
        let answer = refused(&mut stranger, kind, params).await;
        assert_eq!(answer, ("not_a_member".to_owned(), "User is not a member of this group".to_owned()), "{kind}");
    }
    for (kind, params) in admins_frames(404, fixture.cleo.id) {
        let answer = refused(&mut fixture.ann_client, kind, params).await;
        assert_eq!(answer, ("not_found".to_owned(), "params.groupId: there is no such group".to_owned()), "{kind}");
    }
    for (user, code, sentence) in [
        (404, "not_found", "params.userId: there is no such user"),
        (outsider.id, "not_a_member", "params.userId: this user is not a member of the group"),
    ] {
        for (kind, params) in admins_frames(group, user).into_iter().take(3) {
            let answer = refused(&mut fixture.ann_client, kind, params).await;
            assert_eq!(answer, (code.to_owned(), sentence.to_owned()), "{kind} {user}");
        }
    }
    // A dialog is not a group, whatever its id.
    fixture.ann_client.call("privateMessage", json!({ "receiverId": fixture.bob.id, "content": "Hi" })).await;
    fixture.bob_client.wait_for_push().await;
    assert_eq!(refused(&mut fixture.ann_client, "dropGroup", json!({ "groupId": group + 1 })).await.0, "not_found");

    for client in [&mut fixture.ann_client, &mut fixture.bob_client, &mut fixture.cleo_client, &mut stranger] {
        assert_silent(client).await;
    }
    assert_eq!(recorded_events(&fixture.server, group).await.len(), 3, "refused requests are not recorded");
    assert_eq!(admins(&fixture.server, group).await, [fixture.ann.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_frames_check_their_params() {
    let mut fixture = GroupFixture::start().await;
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
        let answer = refused(&mut fixture.ann_client, kind, params).await;
        assert_eq!(answer, ("bad_params".to_owned(), sentence.to_owned()), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_user_from_group_ends_the_membership_and_notifies_subscribers() {
    let mut fixture = GroupFixture::start().await;
    let mut quiet = fixture.server.connect(&fixture.cleo).await;
    let mut own = fixture.server.connect(&fixture.ann).await;
    subscribe(&mut own, &["own"]).await;
    let mut not_own = fixture.server.connect(&fixture.ann).await;
    subscribe(&mut not_own, &["groups"]).await;

    let params = member_params(fixture.group, &fixture.bob);
    call_ok(&mut fixture.ann_client, "removeUserFromGroup", params.clone()).await;
    let received = fixture.bob_client.wait_for_push().await;
    assert_json_snapshot!(received, @r#"
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
    assert_eq!(fixture.cleo_client.wait_for_push().await, received);
    assert_eq!(own.wait_for_push().await, received, "own changes reach the other sockets that subscribed to them");
    for client in [&mut fixture.ann_client, &mut quiet, &mut not_own] {
        assert_silent(client).await;
    }

    fixture.ann_client.call("messageInGroup", json!({ "groupId": fixture.group, "content": "gone?" })).await;
    for (kind, params) in [
        ("messageInGroup", json!({ "groupId": fixture.group, "content": "x" })),
        ("getlatestMessageGroup", group_params(fixture.group)),
        ("listGroupUsers", group_params(fixture.group)),
        ("leaveGroup", group_params(fixture.group)),
    ] {
        assert_eq!(refused(&mut fixture.bob_client, kind, params).await.0, "not_a_member", "{kind}");
    }
    assert_silent(&mut fixture.bob_client).await;
    let again = refused(&mut fixture.ann_client, "removeUserFromGroup", params).await;
    assert_eq!(again.0, "not_a_member");
    let recorded_events = recorded_events(&fixture.server, fixture.group).await;
    assert_eq!(recorded_events.last(), Some(&recorded("removeUserFromGroup", &fixture.bob)));
    assert_eq!(recorded_events.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_user_from_group_removes_admins_but_not_the_last_one() {
    let mut fixture = GroupFixture::start().await;
    let ann = member_params(fixture.group, &fixture.ann);
    let last = (
        "conflict".to_owned(),
        "params.userId is the last admin of this group; make somebody else an admin first".to_owned(),
    );
    for kind in ["removeUserFromGroup", "removeGroupAdmin"] {
        assert_eq!(refused(&mut fixture.ann_client, kind, ann.clone()).await, last, "{kind}");
    }
    assert_silent(&mut fixture.bob_client).await;

    for user in [&fixture.bob, &fixture.cleo] {
        call_ok(&mut fixture.ann_client, "addGroupAdmin", member_params(fixture.group, user)).await;
    }
    call_ok(&mut fixture.bob_client, "removeUserFromGroup", member_params(fixture.group, &fixture.cleo)).await;
    call_ok(&mut fixture.ann_client, "removeUserFromGroup", ann).await;
    assert_eq!(admins(&fixture.server, fixture.group).await, [fixture.bob.id]);
    let bob = member_params(fixture.group, &fixture.bob);
    assert_eq!(refused(&mut fixture.bob_client, "removeUserFromGroup", bob).await, last);
    assert_eq!(
        recorded_events(&fixture.server, fixture.group).await[3..],
        [
            recorded("addGroupAdmin", &fixture.bob),
            recorded("addGroupAdmin", &fixture.cleo),
            recorded("removeUserFromGroup", &fixture.cleo),
            recorded("removeUserFromGroup", &fixture.ann),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn add_group_admin_and_remove_group_admin_are_idempotent() {
    let mut fixture = GroupFixture::start().await;
    let bob = member_params(fixture.group, &fixture.bob);
    // Bob is not an admin yet: the request succeeds, and nothing is pushed.
    call_ok(&mut fixture.ann_client, "removeGroupAdmin", bob.clone()).await;
    for _ in 0..2 {
        call_ok(&mut fixture.ann_client, "addGroupAdmin", bob.clone()).await;
    }
    let received = fixture.bob_client.wait_for_push().await;
    assert_eq!(fixture.cleo_client.wait_for_push().await, received);
    assert_eq!(
        (&received["type"], &received["params"]["message"], &received["params"]["item"]["userName"]),
        (&json!("addGroupAdmin"), &json!("User Bob is now an admin of the group."), &json!("Bob"))
    );
    for _ in 0..2 {
        call_ok(&mut fixture.bob_client, "removeGroupAdmin", bob.clone()).await;
        if admins(&fixture.server, fixture.group).await == [fixture.ann.id] {
            break;
        }
    }
    let received = fixture.ann_client.wait_for_push().await;
    assert_eq!(fixture.cleo_client.wait_for_push().await, received);
    assert_eq!(
        (&received["type"], &received["params"]["message"]),
        (&json!("removeGroupAdmin"), &json!("User Bob is no longer an admin of the group."))
    );
    assert_eq!(
        refused(&mut fixture.bob_client, "renameGroup", json!({ "groupId": fixture.group, "groupName": "B" })).await.0,
        "not_admin"
    );
    for client in [&mut fixture.ann_client, &mut fixture.bob_client, &mut fixture.cleo_client] {
        assert_silent(client).await;
    }
    assert_eq!(
        recorded_events(&fixture.server, fixture.group).await[3..],
        [recorded("addGroupAdmin", &fixture.bob), recorded("removeGroupAdmin", &fixture.bob)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_group_admin_of_each_other_at_once_leaves_one_admin() {
    let mut fixture = GroupFixture::start().await;
    let second = fixture.server.second_node().await;
    let mut bob_client = second.connect(&fixture.bob).await;
    for kind in ["removeGroupAdmin", "removeUserFromGroup"].repeat(5) {
        let group = new_group(&mut fixture.ann_client, &[fixture.bob.id]).await;
        let (ann, bob) = (member_params(group, &fixture.ann), member_params(group, &fixture.bob));
        call_ok(&mut fixture.ann_client, "addGroupAdmin", bob.clone()).await;
        let (one, other) = tokio::join!(fixture.ann_client.call(kind, bob), bob_client.call(kind, ann));
        let refusal = if one["success"] == true { &other } else { &one };
        let too_late = if kind == "removeGroupAdmin" { "not_admin" } else { "not_a_member" };
        assert_eq!(refusal["code"], too_late, "{one} {other}");
        assert_eq!(admins(&fixture.server, group).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_group_notifies_members_and_shows_everywhere() {
    let mut fixture = GroupFixture::start().await;
    fixture.ann_client.call("messageInGroup", json!({ "groupId": fixture.group, "content": "Hi" })).await;
    for client in [&mut fixture.bob_client, &mut fixture.cleo_client] {
        client.wait_for_push().await;
    }
    let name = json!({ "groupId": fixture.group, "groupName": "Chess 'club' ♟" });
    for _ in 0..2 {
        call_ok(&mut fixture.ann_client, "renameGroup", name.clone()).await;
    }
    let received = fixture.bob_client.wait_for_push().await;
    assert_eq!(fixture.cleo_client.wait_for_push().await, received);
    assert_json_snapshot!(received["params"], @r#"
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
    let list = fixture.cleo_client.call("listLastMessage", json!({})).await;
    assert_eq!(list["params"]["data"][0]["groupName"], "Chess 'club' ♟");
    for client in [&mut fixture.ann_client, &mut fixture.bob_client, &mut fixture.cleo_client] {
        assert_silent(client).await;
    }
    assert_eq!(recorded_events(&fixture.server, fixture.group).await[3..], [("renameGroup".to_owned(), None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_group_ends_the_group_for_all_and_keeps_its_messages() {
    let mut fixture = GroupFixture::start().await;
    fixture.ann_client.call("messageInGroup", json!({ "groupId": fixture.group, "content": "Hi" })).await;
    for client in [&mut fixture.bob_client, &mut fixture.cleo_client] {
        client.wait_for_push().await;
    }
    call_ok(&mut fixture.ann_client, "dropGroup", group_params(fixture.group)).await;
    let received = fixture.bob_client.wait_for_push().await;
    assert_eq!(fixture.cleo_client.wait_for_push().await, received);
    assert_json_snapshot!(received, @r#"
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
    let mut frames = admins_frames(fixture.group, fixture.bob.id).to_vec();
    frames.extend([
        ("addUserInGroup", member_params(fixture.group, &fixture.bob)),
        ("leaveGroup", group_params(fixture.group)),
        ("listGroupUsers", group_params(fixture.group)),
        ("getlatestMessageGroup", group_params(fixture.group)),
        ("messageInGroup", json!({ "groupId": fixture.group, "content": "x" })),
    ]);
    for client in [&mut fixture.ann_client, &mut fixture.bob_client] {
        for (kind, params) in frames.clone() {
            let answer = refused(client, kind, params).await;
            assert_eq!(answer, ("not_found".to_owned(), "params.groupId: there is no such group".to_owned()), "{kind}");
        }
        let list = client.call("listLastMessage", json!({})).await;
        assert_eq!(list["params"]["data"], json!([]));
        assert_eq!(client.take_buffered_pushes(), [] as [Value; 0]);
    }
    let member_params = [&fixture.ann, &fixture.bob, &fixture.cleo].map(|user| recorded("dropGroup", user));
    assert_eq!(recorded_events(&fixture.server, fixture.group).await[3..], member_params);
    let select = "select (select count(*) from messages), (select count(*) from members), ended_at is not null from conversations";
    let row = sqlx::query(select).fetch_one(&mut fixture.server.sql().await).await.expect("a row");
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1), row.get::<bool, _>(2)), (1, 0, true));
}
