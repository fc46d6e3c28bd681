"""In a real kernel: cells run on its loop's thread, where a pool must not block."""

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELLS = (
    "import cgexec, threading\npool = cgexec.ThreadPoolExecutor(1, queue_size=0, name='notebook')\nheld = threading.Event()",
    "future = pool.submit(held.wait, 30)",
    "try:\n    pool.submit(int)\nexcept cgexec.QueueFull as full:\n    print('refused:', 'await pool.run' in str(full))",
    "held.set()\nprint(await pool.run(pow, 2, 10))",
    "print(sum([each async for each in pool.stream(abs, range(-10, 0))]))",
    "print(sum(pool.map(abs, range(-10, 0))))",
    "print(bool(await pool.adrain(10)))",
)


@pytest.mark.filterwarnings("default")  # the kernel's client has some of its own
def test_what_the_page_says_holds_in_a_kernel(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    printed = [output["text"] for cell in notebook.cells for output in cell.outputs if output.get("name") == "stdout"]
    assert printed == ["refused: True\n", "1024\n", "55\n", "55\n", "False\n"]
