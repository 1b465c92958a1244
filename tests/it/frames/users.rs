//! Users, over HTTP and as frames (`listUsers`, `getUser`, `searchUsers`): no password hash and no e-mail
//! address of others is ever shown.

use serde_json::{Value, json};

use crate::support::{Answer, Client, TestServer, User, answer, steady};

const USERS: &str = "/api/v1/users";
const ME: &str = "/api/v1/users/me";

async fn get(server: &TestServer, asker: &User, path: &str) -> Answer {
    answer(server.http("GET", path).bearer_auth(&asker.token)).await
}

/// Requests a page of users with these parameters.
async fn page(server: &TestServer, asker: &User, query: &[(&str, &str)]) -> Answer {
    let encoded = |text: &str| text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    let pairs: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    get(server, asker, &format!("{USERS}?{}", pairs.join("&"))).await
}

fn ids(page: &Answer) -> Vec<i64> {
    let body = page.ok(200);
    body["data"].as_array().expect("rows").iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

async fn found(server: &TestServer, asker: &User, query: &str) -> Vec<i64> {
    ids(&page(server, asker, &[("q", query)]).await)
}

/// Creates a user with these data; `user` has set the first name already.
async fn create_with(server: &TestServer, first_name: &str, data: Value) -> User {
    let user = server.create_user(first_name).await;
    answer(server.http("PATCH", "/api/v1/users/me").bearer_auth(&user.token).json(&data)).await.ok(200);
    user
}

async fn patrick(server: &TestServer) -> User {
    let data = json!({ "email": "patrick@example.org", "username": "pat", "lastName": "Star" });
    create_with(server, "Patrick", data).await
}

async fn bob(server: &TestServer) -> User {
    let data = json!({ "email": "bob@example.org", "username": "sponge", "lastName": "Squarepants" });
    create_with(server, "Bob", data).await
}

#[tokio::test(flavor = "multi_thread")]
async fn list_users_over_http_shows_names_and_only_the_own_email() {
    let server = TestServer::start().await;
    let (_, bob) = (patrick(&server).await, bob(&server).await);
    let list = get(&server, &bob, USERS).await.ok(200);
    insta::assert_json_snapshot!(list, @r#"
    {
      "data": [
        {
          "firstName": "Patrick",
          "id": 1,
          "lastName": "Star",
          "username": "pat"
        },
        {
          "email": "bob@example.org",
          "firstName": "Bob",
          "id": 2,
          "lastName": "Squarepants",
          "username": "sponge"
        }
      ]
    }
    "#);
    assert_eq!(get(&server, &bob, "/users/list").await.ok(200), list["data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_user_over_http_shows_names_and_only_the_own_email() {
    let server = TestServer::start().await;
    let (patrick, bob) = (patrick(&server).await, bob(&server).await);
    let path = format!("{USERS}/{}", patrick.id);
    let other = get(&server, &bob, &path).await.ok(200);
    insta::assert_json_snapshot!(steady(other), @r#"
    {
      "firstName": "Patrick",
      "id": 1,
      "lastName": "Star",
      "username": "pat"
    }
    "#);
    assert_eq!(get(&server, &patrick, &path).await.ok(200)["email"], "patrick@example.org");
    for id in ["0", "-1", "999", "x", "1.5", "%00", "1%20", "9007199254740992", "9223372036854775808"] {
        let refusal = get(&server, &bob, &format!("{USERS}/{id}")).await;
        assert_eq!(refusal.refused(404, "not_found"), "id: there is no such user", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_users_and_search_users_show_no_hash_and_no_email_of_others() {
    let server = TestServer::start().await;
    let sign_up = json!({ "email": "hidden@example.org", "password": "correct horse", "firstName": "Hidden" });
    answer(server.http("POST", "/api/v1/auth/sign-up").json(&sign_up)).await.ok(201);
    let bob = bob(&server).await;
    let paths =
        [USERS, "/users/list", "/api/v1/users/1", "/api/v1/users?q=hidden", "/api/v1/users?q=hidden@example.org"];
    for path in paths {
        let text = get(&server, &bob, path).await.text;
        assert!(text.contains("\"Hidden\""), "{path}: {text}");
        for secret in ["hidden@", "argon2", "hash", "password"] {
            assert!(!text.contains(secret), "{path}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_users_over_http_needs_a_token() {
    let server = TestServer::start().await;
    bob(&server).await;
    for path in [USERS, "/users/list", "/api/v1/users/1", "/api/v1/users?q=bob", "/api/v1/users?limit=nonsense"] {
        answer(server.http("GET", path)).await.refused(401, "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_users_pages_follow_the_order_of_sign_up() {
    let server = TestServer::start().await;
    let users = server.create_users("User", 23).await;
    let all: Vec<i64> = users.iter().map(|user| user.id).collect();
    let mut seen = Vec::new();
    for (number, rows) in [("1", 10), ("2", 10), ("3", 3), ("4", 0)] {
        let page = ids(&page(&server, &users[0], &[("limit", "10"), ("page", number)]).await);
        assert_eq!(page.len(), rows);
        seen.extend(page);
    }
    assert_eq!(seen, all);
    assert_eq!(ids(&page(&server, &users[0], &[]).await), all[..20]);
    assert_eq!(ids(&page(&server, &users[0], &[("limit", "100")]).await), all);
    assert_eq!(ids(&page(&server, &users[0], &[("q", "user"), ("limit", "5"), ("page", "2")]).await), all[6..11]);
    let last = [("limit", "100"), ("page", "9007199254740991")];
    assert!(ids(&page(&server, &users[0], &last).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn list_users_over_http_checks_limit_and_page() {
    let server = TestServer::start().await;
    let bob = bob(&server).await;
    for (name, values) in [
        ("limit", ["0", "-1", "101", "", "ten", "1.0", "null", "99999999999999999999"]),
        ("page", ["0", "-1", "9007199254740992", "", "one", "1e3", " 1", "99999999999999999999"]),
    ] {
        for value in values {
            for search in [None, Some(("q", "bob"))] {
                let query: Vec<_> = search.into_iter().chain([(name, value)]).collect();
                let message = page(&server, &bob, &query).await.refused(400, "bad_params");
                assert!(message.starts_with(&format!("{name} must be an integer from 1")), "{message} for {value:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_users_page_size_is_a_setting() {
    let server = TestServer::start_with(|config| config.limits.max_page_rows = 2).await;
    let users = server.create_users("User", 3).await;
    assert_eq!(ids(&page(&server, &users[0], &[]).await).len(), 2);
    assert_eq!(ids(&page(&server, &users[0], &[("limit", "2")]).await).len(), 2);
    let message = page(&server, &users[0], &[("limit", "3")]).await.refused(400, "bad_params");
    assert_eq!(message, "limit must be an integer from 1 to 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn search_users_finds_a_part_of_any_name_and_never_oneself() {
    let server = TestServer::start().await;
    let (patrick, bob) = (patrick(&server).await, bob(&server).await);
    for query in ["Patrick", "patrick", "PATRICK", "tric", "rick", "Star", "tar", "pat", "p", "st", "Patrick Star"] {
        assert_eq!(found(&server, &bob, query).await, [patrick.id], "{query:?}");
        assert!(!found(&server, &patrick, query).await.contains(&patrick.id), "{query:?}");
    }
    for query in ["nobody", "Patrick Squarepants", "%", "_", "%atrick", "p_trick", "patrick\\", "'", "' or true --"] {
        assert!(found(&server, &bob, query).await.is_empty(), "{query:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_users_takes_every_character_literally() {
    let server = TestServer::start().await;
    let asker = bob(&server).await;
    for (name, queries) in [
        ("O'Hara", &["o'hara", "'hara", "O'H"][..]),
        ("100% sure_thing", &["100%", "% sure", "sure_thing"]),
        ("back\\slash", &["back\\slash", "k\\sla"]),
        ("Émile Żółć", &["émile", "ÉMILE", "żółć", "ŻÓŁĆ"]),
        ("中文名字", &["中文名", "中文", "中"]),
        ("Smile 🐧 bird", &["smile 🐧", "🐧 bird"]),
    ] {
        let user = create_with(&server, "x", json!({ "firstName": name })).await;
        for query in queries {
            assert_eq!(found(&server, &asker, query).await, [user.id], "{query:?} for {name:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_users_finds_a_whole_email_only() {
    let server = TestServer::start().await;
    let (patrick, bob) = (patrick(&server).await, bob(&server).await);
    for query in ["patrick@example.org", "PATRICK@Example.org"] {
        assert_eq!(found(&server, &bob, query).await, [patrick.id], "{query:?}");
    }
    for query in
        ["atrick@example.org", "patrick@", "@example.org", "@", "example.org", "%@example.org", "bob@example.org"]
    {
        assert!(found(&server, &bob, query).await.is_empty(), "{query:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_users_over_http_checks_its_query() {
    let server = TestServer::start().await;
    let bob = bob(&server).await;
    for query in ["", "a\0b", &"a".repeat(255), &format!("{}@b", "a".repeat(253))] {
        let message = page(&server, &bob, &[("q", query)]).await.refused(400, "bad_params");
        assert!(message.starts_with("q must"), "{message}");
    }
    // A query that is not UTF-8 finds no users and is no error.
    let unreadable = get(&server, &bob, "/api/v1/users?q=%ff%fe%fd").await;
    assert!([200, 400].contains(&unreadable.status), "{unreadable:?}");
}

async fn rows(client: &mut Client, kind: &str, params: Value) -> Value {
    let reply = client.call(kind, params).await;
    assert_eq!(reply["success"], true, "{reply}");
    reply["params"]["data"].clone()
}

async fn searched(client: &mut Client, params: Value) -> Vec<i64> {
    let rows = rows(client, "searchUsers", params).await;
    rows.as_array().expect("rows").iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

async fn refused(client: &mut Client, kind: &str, params: Value) -> Value {
    let error = client.call(kind, params).await;
    json!([error["code"], error["message"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn list_users_search_users_and_get_user_return_the_rows_of_http() {
    let server = TestServer::start().await;
    let (patrick, bob) = (patrick(&server).await, bob(&server).await);
    let mut client = server.connect(&bob).await;
    let list = get(&server, &bob, USERS).await.ok(200);
    assert_eq!(rows(&mut client, "listUsers", json!({})).await, list["data"]);
    assert_eq!(rows(&mut client, "listUsers", json!({ "limit": 1, "page": 2 })).await, json!([list["data"][1]]));
    assert_eq!(rows(&mut client, "searchUsers", json!({ "query": "pat" })).await, json!([list["data"][0]]));
    let other = client.call("getUser", json!({ "userId": patrick.id })).await;
    insta::assert_json_snapshot!(other, @r#"
    {
      "id": 4,
      "params": {
        "data": null,
        "item": {
          "firstName": "Patrick",
          "id": 1,
          "lastName": "Star",
          "username": "pat"
        },
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "getUser"
    }
    "#);
    for params in [json!({}), json!({ "userId": null }), json!({ "userId": bob.id })] {
        assert_eq!(client.call("getUser", params).await["params"]["item"], list["data"][1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_user_list_users_and_search_users_check_their_params() {
    let server = TestServer::start().await;
    let gone = patrick(&server).await;
    let mut client = server.connect(&bob(&server).await).await;
    answer(server.http("DELETE", ME).bearer_auth(&gone.token)).await.no_content();
    let nobody = json!(["not_found", "params.userId: there is no such user"]);
    for user in [404, gone.id] {
        assert_eq!(refused(&mut client, "getUser", json!({ "userId": user })).await, nobody);
    }
    assert_eq!(rows(&mut client, "listUsers", json!({})).await.as_array().map(Vec::len), Some(1));
    assert!(searched(&mut client, json!({ "query": "patrick" })).await.is_empty());
    for (kind, params, sentence) in [
        ("getUser", json!({ "userId": "1" }), "params.userId must be an integer from 1"),
        ("listUsers", json!({ "limit": 101 }), "params.limit must be an integer from 1 to 100"),
        ("listUsers", json!({ "page": 0 }), "params.page must be an integer from 1"),
        ("searchUsers", json!({}), "params.query is required"),
        ("searchUsers", json!({ "query": "" }), "params.query must be 1 to 254 characters"),
        ("searchUsers", json!({ "query": "a\0" }), "params.query must not contain U+0000"),
        ("searchUsers", json!({ "query": 7 }), "params.query must be a string"),
        ("searchUsers", json!({ "query": "a", "limit": 0 }), "params.limit must be an integer from 1 to 100"),
        ("searchUsers", json!({ "query": "a", "groupId": 0 }), "params.groupId must be an integer from 1"),
    ] {
        assert_eq!(refused(&mut client, kind, params).await, json!(["bad_params", sentence]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_users_for_a_group_leaves_out_its_members_and_is_for_members_only() {
    let server = TestServer::start().await;
    let users = server.create_users("User", 8).await;
    let addressed = patrick(&server).await;
    let mut client = server.connect(&users[0]).await;
    let members: Vec<i64> = [1, 2, 5].map(|nth: usize| users[nth].id).to_vec();
    let group = client.call("newGroup", json!({ "groupName": "G", "userIds": members })).await;
    let group = &group["params"]["item"]["groupId"];
    let ids: Vec<i64> = users.iter().map(|user| user.id).collect();

    assert_eq!(searched(&mut client, json!({ "query": "user" })).await, ids[1..]);
    let outside = [ids[3], ids[4], ids[6], ids[7]];
    assert_eq!(searched(&mut client, json!({ "query": "user", "groupId": group })).await, outside);
    let mut paged = Vec::new();
    for page in 1..=3 {
        let params = json!({ "query": "user", "groupId": group, "limit": 2, "page": page });
        paged.extend(searched(&mut client, params).await);
    }
    assert_eq!(paged, outside);

    let by_address = json!({ "query": "patrick@example.org", "groupId": group });
    assert_eq!(searched(&mut client, by_address.clone()).await, [addressed.id]);
    client.call("addUserInGroup", json!({ "groupId": group, "userId": addressed.id })).await;
    assert!(searched(&mut client, by_address).await.is_empty());

    let mut stranger = server.connect(&users[3]).await;
    let params = json!({ "query": "user", "groupId": group });
    let not_mine = json!(["not_a_member", "User is not a member of this group"]);
    assert_eq!(refused(&mut stranger, "searchUsers", params).await, not_mine);
    // A dialog is not a group, though a conversation has its id.
    let dialog = client.call("privateMessage", json!({ "receiverId": ids[1], "content": "x" })).await;
    assert_eq!(dialog["success"], true);
    for id in [404, 2] {
        let error = refused(&mut client, "searchUsers", json!({ "query": "user", "groupId": id })).await;
        assert_eq!(error, json!(["not_found", "params.groupId: there is no such group"]));
    }
}
