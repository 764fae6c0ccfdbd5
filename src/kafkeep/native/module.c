/* The module kafkeep.native._native: its functions stand in the other files, by subject. */

#include "crc32c.h"
#include "native.h"

static int execute(PyObject *module)
{
    crc32c_begin();
    if (PyModule_AddIntConstant(module, "API", KAFKEEP_API) < 0
        || PyModule_AddStringConstant(module, "CRC32C_WAY", crc32c_way()) < 0
        || PyModule_AddFunctions(module, kafkeep_crc32c_methods) < 0
        || PyModule_AddFunctions(module, kafkeep_walk_methods) < 0
        || PyModule_AddFunctions(module, kafkeep_repack_methods) < 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Loops over many batches, in C. Imported by kafkeep.native alone.",
    .m_size = 0,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
