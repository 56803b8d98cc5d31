//! Routes, each with what the document of the interface says of it: one is not without the other.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, delete, get, patch, post};
use config::Object;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::openapi::{self, Document};
use super::{Backend, objects, query};
use crate::Range;

/// What makes a schema, of which parts may go to the generator's definitions.
pub(super) type Make = Box<dyn Fn(&mut SchemaGenerator) -> Schema>;

/// What the document says of an operation.
pub(super) struct About {
    pub(super) method: &'static str,
    pub(super) summary: &'static str,
    /// Of an object whose properties are the query's.
    pub(super) query: Vec<Make>,
    /// The body of the request.
    pub(super) takes: Option<Make>,
    /// The status of success.
    pub(super) status: u16,
    /// The type of the answer.
    pub(super) media: &'static str,
    pub(super) answers: Make,
    /// Whether the read-only socket refuses it.
    pub(super) forbidden: bool,
    /// Whether the query may name what is not there.
    pub(super) looks_up: bool,
}

/// What can be done with a resource by one method.
pub(super) struct Operation<B> {
    route: MethodRouter<Arc<B>>,
    about: About,
}

impl<B: Backend> Operation<B> {
    fn new(method: &'static str, summary: &'static str, route: MethodRouter<Arc<B>>) -> Self {
        let about = About {
            method,
            summary,
            query: Vec::new(),
            takes: None,
            status: 200,
            media: "application/json",
            answers: Box::new(SchemaGenerator::subschema_for::<()>),
            forbidden: method != "get",
            looks_up: false,
        };
        Self { route, about }
    }

    pub(super) fn get<H: Handler<T, Arc<B>>, T: 'static>(
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new("get", summary, get(handler))
    }

    pub(super) fn post<H: Handler<T, Arc<B>>, T: 'static>(
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new("post", summary, post(handler))
    }

    pub(super) fn patch<H: Handler<T, Arc<B>>, T: 'static>(
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new("patch", summary, patch(handler))
    }

    pub(super) fn delete<H: Handler<T, Arc<B>>, T: 'static>(
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new("delete", summary, delete(handler))
    }

    /// It answers with this as JSON.
    pub(super) fn answers<T: JsonSchema + 'static>(self) -> Self {
        self.answers_as(SchemaGenerator::subschema_for::<T>)
    }

    /// It answers with an object of the configuration.
    pub(super) fn shows(self, object: Object) -> Self {
        self.answers_as(move |_| objects::shown_ref(object))
    }

    /// It answers with a page of what this filter lets through.
    pub(super) fn lists<F: JsonSchema + 'static, T: JsonSchema>(self) -> Self {
        self.query::<F>()
            .query::<Range>()
            .answers_as(|generator| openapi::page(&generator.subschema_for::<T>()))
    }

    /// It answers with a page of objects of the configuration.
    pub(super) fn lists_objects(self, object: Object) -> Self {
        self.query::<Range>()
            .answers_as(move |_| openapi::page(&objects::shown_ref(object)))
    }

    fn answers_as(mut self, make: impl Fn(&mut SchemaGenerator) -> Schema + 'static) -> Self {
        self.about.answers = Box::new(make);
        self
    }

    /// It answers with text of this type.
    pub(super) fn answers_text(mut self, media: &'static str) -> Self {
        self.about.media = media;
        self.answers_as(|_| json_schema!({ "type": "string" }))
    }

    /// It answers with server-sent events, of each of which the data are this as JSON.
    pub(super) fn streams<T: JsonSchema>(mut self) -> Self {
        self.about.media = "text/event-stream";
        self.answers_as(|generator| {
            let event = generator.subschema_for::<T>();
            json_schema!({ "type": "string", "contentMediaType": "application/json", "contentSchema": event })
        })
    }

    /// Its query has these parameters.
    pub(super) fn query<Q: JsonSchema + 'static>(mut self) -> Self {
        self.about.query.push(Box::new(Q::json_schema));
        self
    }

    /// It takes an object like this as JSON.
    pub(super) fn takes<T: JsonSchema + 'static>(mut self) -> Self {
        self.about.takes = Some(Box::new(T::json_schema));
        self
    }

    /// It takes some of an object's parameters.
    pub(super) fn modifies(mut self, object: Object) -> Self {
        self.about.takes = Some(Box::new(move |_| objects::taken_ref(object)));
        self
    }

    /// It takes an object's parameters, and makes the object.
    pub(super) fn creates(mut self, object: Object) -> Self {
        self.about.status = 201;
        self.about.takes = Some(Box::new(move |_| objects::created(object)));
        self
    }

    /// Its query may name what is not there.
    pub(super) fn looks_up(mut self) -> Self {
        self.about.looks_up = true;
        self
    }

    /// The read-only socket refuses it, though it changes nothing.
    pub(super) fn forbidden(mut self) -> Self {
        self.about.forbidden = true;
        self
    }
}

/// All that there is.
pub(super) struct Interface<B> {
    router: Router<Arc<B>>,
    document: Document,
}

impl<B: Backend> Interface<B> {
    pub(super) fn new() -> Self {
        Self {
            router: Router::new(),
            document: Document::new(),
        }
    }

    /// Adds what can be done with a resource.
    pub(super) fn at<const N: usize>(self, path: &str, operations: [Operation<B>; N]) -> Self {
        let (mut document, mut methods) = (self.document, MethodRouter::new());
        for Operation { route, about } in operations {
            document.add(path, &about);
            methods = methods.merge(match about.query.is_empty() {
                true => route.route_layer(from_fn(query::none)),
                false => route,
            });
        }
        Self {
            router: self.router.route(path, methods),
            document,
        }
    }

    /// Adds the document itself.
    pub(super) fn described_at(mut self, path: &str) -> Self {
        let itself =
            Operation::<B>::get("This document.", async || ()).answers::<Map<String, Value>>();
        self.document.add(path, &itself.about);
        let document = Bytes::from(self.document.to_json().to_string());
        let answer = get(async move || ([(CONTENT_TYPE, "application/json")], document));
        Self {
            router: self
                .router
                .route(path, answer.route_layer(from_fn(query::none))),
            ..self
        }
    }

    pub(super) fn into_router(self) -> Router<Arc<B>> {
        self.router
    }

    pub(super) fn into_document(self) -> Value {
        self.document.to_json()
    }
}
