#include "crew.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "lock.h"
#include "runtime.h"

struct crew_thread {
    struct list link;    /* in the crew's list of threads; the loop's business */
    struct list waiting; /* among those that have nothing to do */
    struct crew *crew;
    pthread_t id;
    pthread_cond_t wake;
    void *context;
    struct letter ended;
    bool called;    /* it was woken, or started, and has not come to take a job yet */
    bool gone;      /* it has told of its end */
    bool awaited;   /* the loop waits for that */
    bool abandoned; /* the loop has forgotten it */
};

struct crew {
    struct list link; /* in the runtime's list */
    struct runtime *runtime;
    const struct crew_type *type;
    void *setup;
    unsigned max;
    struct mailbox *home;
    pthread_mutex_t lock; /* for what follows, and for the jobs' ends */
    unsigned references;  /* the owner, and each thread */
    struct list queue;    /* of jobs */
    struct list jobs;     /* all that the loop waits for */
    struct list waiting;  /* threads, the last one first: its memory is the warmest */
    struct list threads;
    unsigned count; /* of threads that are not abandoned */
    bool calling;   /* one of them is called: it will call the next when there is more to do */
    bool ending;
    void (*on_end)(void *ctx);
    void *ctx;
};

static atomic_uint lost;

unsigned crews_lost(void) {
    return lost;
}

/* Frees a crew that is locked, with its last reference; else unlocks it. */
static void drop(struct crew *crew) {
    bool is_last = --crew->references == 0;
    pthread_mutex_unlock(&crew->lock);
    if (!is_last) return;
    pthread_mutex_destroy(&crew->lock);
    mailbox_unref(crew->home);
    free(crew->setup);
    free(crew);
}

/* ---- in a thread ----------------------------------------------------------------------------- */

static int call_thread(struct crew *crew);

/* The next job, if there is one. The crew is locked. */
static struct job *take(struct crew_thread *thread) {
    struct crew *crew = thread->crew;
    struct list *first = thread->abandoned ? NULL : list_shift(&crew->queue);
    if (thread->called) crew->calling = thread->called = false;
    if (!first) return NULL;
    struct job *job = container_of(first, struct job, link);
    job->thread = thread;
    call_thread(crew); /* if that fails, this thread comes to it */
    return job;
}

/* Waits to be called. False: the thread is to end. The crew is locked. */
static bool wait_for_call(struct crew_thread *thread) {
    struct crew *crew = thread->crew;
    if (crew->ending || thread->abandoned) return false;
    list_append(crew->waiting.next, &thread->waiting); /* to the front */
    while (!list_empty(&thread->waiting))
        pthread_cond_wait(&thread->wake, &crew->lock);
    return true;
}

/* Gives a job back to the loop. Whether that is to be woken; *left is the job when it was given up
 * instead. The crew is locked. */
static bool give_back(struct crew *crew, struct job *job, void *context, struct job **left) {
    job->thread = NULL;
    if (job->type->settle) job->type->settle(job, context);
    job->over = true;
    *left = job->left ? job : NULL;
    return !job->left && mailbox_post_last(crew->home, &job->done) == POST_FIRST;
}

/* Does jobs until there are none, or one has broken the context. The crew is locked, but while it
 * does one: what the last one has left to do is done then, too. */
static bool do_jobs(struct crew_thread *thread, void *context) {
    struct crew *crew = thread->crew;
    struct job *job = take(thread), *left = NULL;
    bool wakes = false, is_fine = true;
    while (job || wakes || left) {
        pthread_mutex_unlock(&crew->lock);
        if (wakes) mailbox_wake(crew->home);
        if (left) left->type->free(left);
        wakes = false;
        left = NULL;
        if (job) is_fine = job->type->run(job, context);
        pthread_mutex_lock(&crew->lock);
        if (job) wakes = give_back(crew, job, context, &left);
        job = is_fine ? take(thread) : NULL;
    }
    return is_fine;
}

/* The last act. The loop joins the thread, unless it was abandoned. */
static void leave_crew(struct crew_thread *thread) {
    struct crew *crew = thread->crew;
    pthread_mutex_lock(&crew->lock);
    if (thread->abandoned) {
        pthread_cond_destroy(&thread->wake);
        free(thread);
        drop(crew);
        lost--;
        return;
    }
    thread->gone = true;
    if (thread->awaited)
        mailbox_post_last(crew->home, &thread->ended);
    else
        mailbox_post(crew->home, &thread->ended);
    struct mailbox *home = mailbox_ref(crew->home);
    pthread_mutex_unlock(&crew->lock);
    mailbox_wake(home);
    mailbox_unref(home);
}

static void *thread_main(void *argument) {
    struct crew_thread *thread = argument;
    struct crew *crew = thread->crew;
    void *context = crew->type->open ? crew->type->open(crew->setup) : NULL;
    pthread_mutex_lock(&crew->lock);
    thread->context = context;
    while (do_jobs(thread, context) && wait_for_call(thread))
        continue;
    if (thread->called) crew->calling = thread->called = false;
    thread->context = NULL;
    pthread_mutex_unlock(&crew->lock);
    if (context && crew->type->close) crew->type->close(context);
    leave_crew(thread);
    return NULL;
}

/* ---- on the loop ----------------------------------------------------------------------------- */

/* When the crew ends and has no thread left, it is the runtime's no more; tells its owner. Locked,
 * and unlocked with one reference less. */
static void check_end(struct crew *crew) {
    bool is_over = crew->ending && crew->count == 0;
    void (*on_end)(void *) = is_over ? crew->on_end : NULL;
    void *ctx = crew->ctx;
    if (is_over) {
        list_unlink(&crew->link);
        crew->on_end = NULL;
    }
    drop(crew);
    if (on_end) on_end(ctx);
}

static void on_ended(struct letter *letter) {
    struct crew_thread *thread = container_of(letter, struct crew_thread, ended);
    struct crew *crew = thread->crew;
    pthread_join(thread->id, NULL);
    pthread_cond_destroy(&thread->wake);
    pthread_mutex_lock(&crew->lock);
    list_unlink(&thread->link);
    if (thread->awaited) crew->runtime->expected--;
    free(thread);
    crew->count--;
    call_thread(crew); /* one with a broken context may have left jobs behind */
    check_end(crew);
}

/* The crew is locked. */
static int start_thread(struct crew *crew) {
    struct crew_thread *thread = calloc(1, sizeof *thread);
    if (!thread) return UV_ENOMEM;
    thread->crew = crew;
    thread->called = true;
    letter_init(&thread->ended, on_ended);
    list_init(&thread->waiting);
    pthread_cond_init(&thread->wake, NULL);
    int code = pthread_create(&thread->id, NULL, thread_main, thread);
    if (code != 0) {
        pthread_cond_destroy(&thread->wake);
        free(thread);
        return -code;
    }
    list_append(&crew->threads, &thread->link);
    crew->count++;
    crew->references++;
    crew->calling = true;
    return 0;
}

/* Sees to it that a thread comes for what is in the queue: one at a time, as each calls the next.
 * The crew is locked. */
static int call_thread(struct crew *crew) {
    if (crew->calling || list_empty(&crew->queue)) return 0;
    struct list *first = list_shift(&crew->waiting);
    if (!first) {
        int code = crew->count < crew->max ? start_thread(crew) : 0;
        return crew->count > 0 ? 0 : code;
    }
    struct crew_thread *thread = container_of(first, struct crew_thread, waiting);
    crew->calling = thread->called = true;
    pthread_cond_signal(&thread->wake);
    return 0;
}

unsigned crew_usual_max(void) {
    unsigned cores = uv_available_parallelism();
    return cores < 28 ? cores + 4 : 32;
}

struct crew *crew_open(struct runtime *runtime, const struct crew_type *type, unsigned max,
                       void *setup) {
    struct crew *crew = calloc(1, sizeof *crew);
    if (!crew) {
        free(setup);
        return NULL;
    }
    crew->runtime = runtime;
    crew->type = type;
    crew->max = max;
    crew->setup = setup;
    crew->references = 1;
    crew->home = mailbox_ref(runtime->mailbox);
    lock_init(&crew->lock);
    list_init(&crew->queue);
    list_init(&crew->jobs);
    list_init(&crew->waiting);
    list_init(&crew->threads);
    list_append(&runtime->crews, &crew->link);
    return crew;
}

static void on_done(struct letter *letter) {
    struct job *job = container_of(letter, struct job, done);
    job->crew->runtime->expected--;
    list_unlink(&job->sibling);
    job->type->done(job);
}

int crew_submit(struct crew *crew, struct job *job) {
    job->crew = crew;
    letter_init(&job->done, on_done);
    mailbox_count_work(1); /* before a thread can be done with it */
    pthread_mutex_lock(&crew->lock);
    list_append(&crew->queue, &job->link);
    list_append(&crew->jobs, &job->sibling);
    int code = crew->ending ? UV_ESHUTDOWN : call_thread(crew);
    if (code != 0) {
        list_unlink(&job->link);
        list_unlink(&job->sibling);
    }
    pthread_mutex_unlock(&crew->lock);
    if (code != 0)
        mailbox_count_work(-1);
    else
        crew->runtime->expected++;
    return code;
}

/* Takes a job from the loop's side; the crew is locked. Whether it is to be freed now. */
static bool forget(struct job *job) {
    bool is_delivered = list_empty(&job->sibling), is_queued = !list_empty(&job->link);
    if (!is_delivered) {
        list_unlink(&job->sibling);
        job->crew->runtime->expected--;
        if (!job->over) mailbox_count_work(-1);
    }
    list_unlink(&job->link);
    if (job->over) mailbox_withdraw(job->crew->home, &job->done);
    job->left = true;
    return job->over || is_queued;
}

void job_leave(struct job *job) {
    struct crew *crew = job->crew;
    pthread_mutex_lock(&crew->lock);
    bool is_last = forget(job);
    pthread_mutex_unlock(&crew->lock);
    if (is_last) job->type->free(job);
}

bool job_leave_queued(struct job *job) {
    struct crew *crew = job->crew;
    pthread_mutex_lock(&crew->lock);
    bool is_queued = !list_empty(&job->link);
    if (is_queued) forget(job);
    pthread_mutex_unlock(&crew->lock);
    if (is_queued) job->type->free(job);
    return is_queued;
}

void job_poke(struct job *job, void (*poke)(struct job *job, void *context)) {
    struct crew *crew = job->crew;
    pthread_mutex_lock(&crew->lock);
    if (job->thread && job->thread->context) poke(job, job->thread->context);
    pthread_mutex_unlock(&crew->lock);
}

/* The thread is the loop's no more; the crew is locked. */
static void abandon(struct crew_thread *thread) {
    struct crew *crew = thread->crew;
    thread->abandoned = true;
    if (thread->called) crew->calling = thread->called = false;
    if (thread->awaited) {
        crew->runtime->expected--;
        mailbox_count_work(-1);
    }
    list_unlink(&thread->link);
    pthread_detach(thread->id);
    lost++;
    crew->count--;
}

bool job_abandon(struct job *job) {
    struct crew *crew = job->crew;
    pthread_mutex_lock(&crew->lock);
    bool is_stuck = job->thread != NULL;
    if (is_stuck) {
        abandon(job->thread);
        forget(job);
        call_thread(crew);
    }
    pthread_mutex_unlock(&crew->lock);
    return is_stuck;
}

/* The crew is locked. */
static void end_threads(struct crew *crew) {
    for (struct list *at = crew->threads.next; at != &crew->threads; at = at->next) {
        struct crew_thread *thread = container_of(at, struct crew_thread, link);
        thread->awaited = true;
        crew->runtime->expected++;
        if (thread->gone) continue; /* its letter is there already */
        mailbox_count_work(1);
        list_unlink(&thread->waiting);
        pthread_cond_signal(&thread->wake);
    }
}

void crew_end(struct crew *crew, void (*on_end)(void *ctx), void *ctx) {
    while (!list_empty(&crew->jobs)) { /* this thread alone takes them out */
        struct job *job = container_of(crew->jobs.next, struct job, sibling);
        if (job->type->drop) job->type->drop(job);
        job_leave(job);
    }
    pthread_mutex_lock(&crew->lock);
    crew->on_end = on_end;
    crew->ctx = ctx;
    if (!crew->ending) end_threads(crew);
    crew->ending = true;
    crew->references++;
    check_end(crew);
}

void crew_release(struct crew *crew) {
    pthread_mutex_lock(&crew->lock);
    crew->on_end = NULL;
    drop(crew);
}

bool crew_is_ending(const struct crew *crew) {
    return crew->ending;
}

struct runtime *runtime_of_crew(const struct crew *crew) {
    return crew->runtime;
}

unsigned crew_max(const struct crew *crew) {
    return crew->max;
}

unsigned crew_threads(struct crew *crew) {
    pthread_mutex_lock(&crew->lock);
    unsigned count = crew->count;
    pthread_mutex_unlock(&crew->lock);
    return count;
}

/* ---- the shutdown ---------------------------------------------------------------------------- */

void crews_end(struct runtime *runtime) {
    struct list *at = runtime->crews.next, *next;
    for (; at != &runtime->crews; at = next) {
        next = at->next;
        struct crew *crew = container_of(at, struct crew, link);
        crew_end(crew, crew->on_end, crew->ctx);
    }
    for (int lane = 0; lane < LANES; lane++) {
        if (runtime->lanes[lane]) crew_release(runtime->lanes[lane]);
        runtime->lanes[lane] = NULL;
    }
}

void crews_abandon(struct runtime *runtime) {
    struct list *at;
    while ((at = list_shift(&runtime->crews))) {
        struct crew *crew = container_of(at, struct crew, link);
        pthread_mutex_lock(&crew->lock);
        crew->references++;
        pthread_mutex_unlock(&crew->lock);
        while (!list_empty(&crew->threads)) {
            struct crew_thread *thread = container_of(crew->threads.next, struct crew_thread, link);
            pthread_mutex_lock(&crew->lock);
            bool is_gone = thread->gone;
            if (!is_gone) abandon(thread);
            pthread_mutex_unlock(&crew->lock);
            if (!is_gone) continue;
            mailbox_withdraw(crew->home, &thread->ended);
            on_ended(&thread->ended);
        }
        crew_release(crew);
    }
}
