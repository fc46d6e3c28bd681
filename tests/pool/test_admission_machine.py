"""The invariants of the state machine, searched for a sequence of events that breaks one."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cgexec._pool import endings, holding, lines, sizes
from cgexec._pool.admission import Admission
from cgexec._pool.records import Closed, Ticket, Verdict, Worker
from cgexec._pool.task import AGAIN, ALONE, COMPLETED, FAILED, GONE, RUNNING, STARVED, WAITING, Task
from support.pools import Prices

SHUT = Closed(RuntimeError, "shut")


class AdmissionMachine(RuleBasedStateMachine):
    """Plays submitters, workers and owner of a pool; whatever the machine answers is done at once, or much later."""

    @initialize(limit=st.integers(1, 4), places=st.integers(0, 4), least=st.integers(0, 2))
    def begin(self, limit, places, least):
        self.state = Admission(limit, places, least=least)
        self.state.guarded = True
        self.state.price = Prices(lambda _: 1.0)
        self.now = 0.0
        self.accepted = []  # in this order
        self.handed_out = []
        self.taken_out = []
        self.lined = []
        self.tickets = {}
        self.known = []
        self.excess = 0  # waiting beyond the bound that is explained: over, or a bound that was lowered
        self.running_excess = 0

    def new(self):
        task = Task()
        task.fn, task.args, task.home, task.since = (lambda: None), (), self.state, self.now
        return task

    def act(self, answer):
        if isinstance(answer, Worker) and answer.thread is None:
            answer.thread = object()
            self.known.append(answer)  # in an order that is the same each time, unlike the set's

    def waiting_excess(self):
        free = max(0, self.state.allowed - self.state.running)
        return max(0, self.state.waiting() - self.state.places - free)

    def workers(self, *, called=None, running=None):
        found = [each for each in self.known if each in self.state.staff]
        if called is not None:
            found = [each for each in found if each.called == called and each.thread is not None]
        if running is not None:
            found = [each for each in found if (each.task is not None) == running]
        return found

    # -- submitters -------------------------------------------------------------------------------------------------

    @rule(over=st.booleans())
    def submit(self, over):
        task = self.new()
        full = self.state.is_full()
        self.spare = self.state.spare
        answer = self.state.offer(task, over=over)
        if answer is Verdict.CLOSED:
            assert self.state.closed
            return
        assert (answer is Verdict.FULL) == (full and not over)
        if answer is not Verdict.FULL:
            self.accepted.append(task)
            self.excess += full
            self.note_handed(task)
        self.act(answer)

    @rule(awaits=st.booleans())
    def line_up(self, awaits):
        task, ticket = self.new(), None if awaits else Ticket()
        full = self.state.is_full()
        answer = lines.line_up(self.state, task, ticket)
        if answer is Verdict.CLOSED:
            return
        assert (answer is Verdict.FULL) == full
        if full:
            self.lined.append(task)
            self.tickets[task] = ticket
        else:
            self.accepted.append(task)
        self.act(answer)

    @precondition(lambda self: self.lined)
    @rule(data=st.data())
    def withdraw(self, data):
        task = data.draw(st.sampled_from(self.lined))
        if lines.withdraw(self.state, task):
            self.lined.remove(task)

    @precondition(lambda self: self.lined)
    @rule()
    def push_the_first(self):
        task = self.lined[0]
        if task in self.state.line:
            self.act(lines.push(self.state, task))
            self.excess += 1

    @rule()
    def displace(self):
        task = self.new()
        answer, oldest = lines.displace(self.state, task)
        if oldest is not None:
            assert not oldest.tries, "it has begun"
            self.taken_out.append(oldest)
        if answer not in (Verdict.CLOSED, Verdict.FULL):
            self.accepted.append(task)
        self.act(answer)

    @precondition(lambda self: self.accepted or self.lined)
    @rule(data=st.data())
    def cancel(self, data):
        task = data.draw(st.sampled_from(self.accepted + self.lined))
        place = task.place
        if task.cancel() and place == WAITING and task not in self.taken_out:
            self.taken_out.append(task)
        if task in self.lined and task.place == GONE:
            self.lined.remove(task)

    # -- workers ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.workers(called=True))
    @rule(data=st.data())
    def a_called_worker_asks(self, data):
        self.ask(data.draw(st.sampled_from(self.workers(called=True))), 0)

    @precondition(lambda self: self.workers(running=True))
    @rule(data=st.data(), outcome=st.sampled_from([COMPLETED, FAILED, STARVED, AGAIN]))
    def a_task_ends(self, data, outcome):
        self.ask(data.draw(st.sampled_from(self.workers(running=True))), outcome)

    @precondition(lambda self: self.workers(called=False, running=False))
    @rule(data=st.data())
    def an_idle_worker_is_woken_for_nothing(self, data):
        self.ask(data.draw(st.sampled_from(self.workers(called=False, running=False))), 0)

    def ask(self, worker, outcome):
        self.now += 1
        if outcome == AGAIN:
            again = worker.task
            again.tries += 1
            self.handed_out.remove(again)
        self.spare = self.state.spare
        answer = self.state.next(worker, self.now, outcome)
        if outcome == AGAIN:
            self.excess = max(self.excess, self.waiting_excess())  # it ran over a limit that was lowered
        if isinstance(answer, Task):
            assert answer.place == RUNNING
            self.note_handed(answer)
        for chore in worker.chores or ():
            chore()
        worker.chores = None
        self.act(worker.errand)
        worker.errand = None

    def note_handed(self, task):
        if task.place == RUNNING:
            assert task not in self.handed_out, "handed out twice"
            if self.state.bounded and not (self.spare and not self.state.spare):  # else whatever runs
                assert self.state.running <= self.state.most
                assert task.tries < ALONE or self.state.alone
            self.handed_out.append(task)
            if not task.tries:
                assert task.set_running_or_notify_cancel()

    @precondition(lambda self: self.workers(called=False, running=False))
    @rule(data=st.data())
    def an_idle_worker_retires(self, data):
        sizes.retire(self.state, data.draw(st.sampled_from(self.workers(called=False, running=False))))

    @precondition(lambda self: self.workers())
    @rule(data=st.data())
    def a_worker_is_lost(self, data):
        worker = data.draw(st.sampled_from(self.workers()))
        _, successor, chores = sizes.lost(self.state, worker)
        for chore in chores:
            chore()
        self.act(successor)

    # -- the owner --------------------------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 4), places=st.integers(0, 4))
    def resize(self, limit, places):
        called, chores, _ = sizes.resize(self.state, limit, places, "test", self.now)
        for chore in chores:
            chore()
        for worker in called:
            self.act(worker)
        self.excess = self.waiting_excess()
        self.running_excess = max(0, self.state.running - self.state.allowed)

    @precondition(lambda self: self.state.limit < 4 and not self.state.closed)
    @rule()
    def the_system_refuses_a_thread(self):
        task = self.new()
        self.spare = self.state.spare
        answer = self.state.offer(task, over=True)
        self.accepted.append(task)
        self.note_handed(task)
        if isinstance(answer, Worker) and answer.thread is None:
            stranded = sizes.refused(self.state, answer)
            self.taken_out += stranded
            assert not (stranded and self.state.staff)
        else:
            self.act(answer)
        self.excess = self.waiting_excess()
        self.running_excess = max(0, self.state.running - self.state.allowed)

    @rule()
    def threads_can_be_had_again(self):
        more, chores = sizes.lift_cap(self.state)
        for chore in chores:
            chore()
        self.act(more)

    @rule(
        funds=st.builds(
            holding.Funds,
            bounded=st.booleans(),
            budget=st.sampled_from([-float("inf"), 0.0, 1.0, 3.0]),
            spare=st.booleans(),
            shut=st.booleans(),
            alone=st.booleans(),
            most=st.sampled_from([0, 1, 2, float("inf")]),
        )
    )
    def somebody_looks_at_memory(self, funds):
        more, chores = holding.fund(self.state, funds, holding.need(self.state, None), 0.0)
        for chore in chores:
            chore()
        self.act(more)

    @rule(drop=st.sampled_from([None, None, "cancelled"]))
    def close(self, drop):
        closing = endings.close(self.state, SHUT, drop=drop)
        self.taken_out += closing.dropped
        for chore in closing.chores:
            chore()
        self.lined.clear()

    # -- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def the_bound_holds_but_for_what_is_explained(self):
        excess = self.waiting_excess()
        assert excess <= self.excess
        self.excess = excess

    @invariant()
    def running_exceeds_the_limit_only_after_a_shrink_and_falls(self):
        excess = max(0, self.state.running - self.state.allowed)
        assert excess <= self.running_excess
        self.running_excess = excess

    @invariant()
    def while_something_waits_somebody_is_there_or_on_the_way(self):
        if self.state.held:  # whoever looks at memory calls
            return
        if self.state.waiting():
            assert self.state.running or self.state.coming or (self.state.thread_cap and not self.state.staff)
        if self.state.waiting() and self.state.parked:
            assert self.state.coming

    @invariant()
    def nobody_stands_in_line_beside_a_free_place(self):
        for task in list(self.lined):
            if task not in self.state.line:  # it got its place
                self.lined.remove(task)
                self.accepted.append(task)
                ticket = self.tickets[task]
                assert ticket is None or ticket.verdict is None
                assert task.place != RUNNING or task in self.handed_out
        assert list(self.state.line) == self.lined, "first come, first served"
        assert not self.lined or self.state.is_full()

    @invariant()
    def a_pool_without_work_accepts_some(self):
        if not self.state.running and not self.state.waiting():
            assert not self.state.is_full()

    @invariant()
    def every_worker_is_in_one_state_and_the_numbers_agree(self):
        state = self.state
        for worker in state.staff:
            assert [worker.task is not None, worker.parked, worker.called].count(True) == 1
        assert state.running == sum(worker.task is not None for worker in state.staff)
        assert state.coming == sum(worker.called for worker in state.staff)
        assert set(state.parked) == {worker for worker in state.staff if worker.parked}
        assert state.corpses == sum(task.place == GONE for task in state.queue)
        assert state.crowded == (len(state.staff) > state.allowed)

    @invariant()
    def every_accepted_task_is_somewhere_exactly_once(self):
        waiting = [task for task in self.state.queue if task.place == WAITING]
        out = self.handed_out + self.taken_out
        for task in self.accepted:
            places = [task in waiting, task in self.handed_out, task in self.taken_out]
            assert places.count(True) == 1, (places, task.place)
        assert len(out) == len(set(out))
        assert len(waiting) == self.state.waiting()


AdmissionMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestAdmissionMachine = AdmissionMachine.TestCase
